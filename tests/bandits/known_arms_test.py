"""The rewards of every bandit on arms whose best one is known.

Arm 0 pays 0.6 on average and the others -0.2, each +1 or -1; with switching
arms the best is another arm from the middle on.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alcurr import bandits
from alcurr.types import ArmOutcome

_ARMS, _STEPS, _TRIALS = 5, 4000, 8
_BEST, _OTHERS = 0.6, -0.2

STATIONARY = {
  "epsilon_greedy": bandits.epsilon_greedy(step_size=None),
  "exp3": bandits.exp3(),
  "exp3_ix": bandits.exp3_ix(),
  "exp3s": bandits.exp3s(learning_rate=0.02),
  "significant": bandits.significant(),
  "softmax": bandits.softmax(learning_rate=0.05),
  "thompson": bandits.thompson(),
  "ucb": bandits.ucb(),
}
SWITCHING = {
  "epsilon_greedy": bandits.epsilon_greedy(),
  "exp3s": bandits.exp3s(learning_rate=0.02),
  "thompson": bandits.thompson(discount=0.99, scale=0.5),
  "discounted ucb": bandits.ucb(discount=0.99, exploration=0.2),
  "window ucb": bandits.ucb(window=200, exploration=0.2),
}


def _fast(few, names):
  """Marks the others as slow; most are compared in oracles_test.py."""
  return [
    pytest.param(name, marks=() if name in few else pytest.mark.slow)
    for name in names
  ]


def _mean_rewards(bandit, means):
  """Returns the reward of each step, the mean over trials: [T]."""

  def step(state, inputs):
    key, mean = inputs
    key_policy, key_arm, key_reward = jax.random.split(key, 3)
    policy = bandit.policy(key_policy, state)
    arm = jax.random.categorical(key_arm, jnp.log(policy))
    good = jax.random.uniform(key_reward) < (1 + mean[arm]) / 2
    paid = jax.nn.one_hot(arm, _ARMS)
    reward = paid * jnp.where(good, 1.0, -1.0)
    return bandit.update(state, ArmOutcome(reward, paid, policy)), mean[arm]

  def run(key):
    keys = jax.random.split(key, len(means))
    return jax.lax.scan(step, bandit.init(_ARMS), (keys, means))[1]

  trials = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), _TRIALS))
  return np.asarray(trials).mean(0)


def _means(best):
  """Returns the mean of each arm at each step, for the best arm [T]."""
  return jnp.where(jnp.arange(_ARMS) == best[:, None], _BEST, _OTHERS)


def _closeness(reward):
  """Returns 0 for the rewards of uniform draws, and 1 for the best arm's."""
  uniform = (_BEST + (_ARMS - 1) * _OTHERS) / _ARMS
  return (reward.mean() - uniform) / (_BEST - uniform)


@pytest.mark.parametrize("name", _fast(("thompson", "significant"), STATIONARY))
def test_the_best_arm_is_found(name):
  rewards = _mean_rewards(STATIONARY[name], _means(np.zeros(_STEPS)))
  assert _closeness(rewards) > 0.7
  assert _closeness(rewards[-500:]) > 0.8


@pytest.mark.parametrize("name", _fast(("exp3s", "window ucb"), SWITCHING))
def test_a_new_best_arm_is_found(name):
  best = np.where(np.arange(_STEPS) < _STEPS // 2, 0, 3)
  rewards = _mean_rewards(SWITCHING[name], _means(best))
  assert _closeness(rewards[_STEPS // 2 - 500 : _STEPS // 2]) > 0.7
  assert _closeness(rewards[-500:]) > 0.7


def test_hedge_follows_the_best_of_all_rewards():
  """Every arm is paid; the regret is within sqrt(2 T log K) of rewards."""
  rng = np.random.default_rng(0)
  means = np.asarray(_means(np.zeros(_STEPS)))
  rewards = np.where(rng.uniform(size=means.shape) < (1 + means) / 2, 1.0, -1.0)
  rate = np.sqrt(8 * np.log(_ARMS) / _STEPS) / 2
  bandit = bandits.hedge(learning_rate=float(rate))
  state, earned, ones = bandit.init(_ARMS), 0.0, jnp.ones(_ARMS)
  update, policy = jax.jit(bandit.update), jax.jit(bandit.policy)
  for reward in rewards:
    drawn = policy(jax.random.key(0), state)
    earned += float(reward @ np.asarray(drawn))
    state = update(state, ArmOutcome(jnp.float32(reward), ones, drawn))
  regret = rewards.sum(0).max() - earned
  assert regret <= np.sqrt(2 * _STEPS * np.log(_ARMS))
