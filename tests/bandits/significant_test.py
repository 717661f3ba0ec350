"""Noise leaves the policy where it is, and a real difference is found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alcurr import bandits
from alcurr.bandits._significant import advantages
from alcurr.types import ArmOutcome

_ARMS, _STEPS, _TRIALS = 10, 2000, 40


def _run(bandit, mean, mixed=False, steps=_STEPS):
  """Returns the policy after each step, [S, T, K], on arms paid +1 or -1."""
  mean = jnp.asarray(mean, jnp.float32)

  def step(state, key):
    key_policy, key_arm, key_reward = jax.random.split(key, 3)
    policy = bandit.policy(key_policy, state)
    # With an arm for each example, a batch of 16 pays most of the arms.
    size = (16,) if mixed else (1,)
    arm = jax.random.categorical(key_arm, jnp.log(policy), shape=size)
    count = jnp.zeros(_ARMS).at[arm].add(1.0)
    good = jax.random.uniform(key_reward, (_ARMS,)) < (1 + mean) / 2
    reward = jnp.where(count > 0, jnp.where(good, 1.0, -1.0), 0)
    return bandit.update(state, ArmOutcome(reward, count, policy)), policy

  def run(key):
    keys = jax.random.split(key, steps)
    return jax.lax.scan(step, bandit.init(_ARMS), keys)[1]

  keys = jax.random.split(jax.random.key(0), _TRIALS)
  return np.asarray(jax.jit(jax.vmap(run))(keys))


@pytest.mark.slow
@pytest.mark.parametrize("mixed", [False, True])
def test_noise_moves_the_policy_in_few_runs(mixed):
  """In at most 5 % of them; without the test of significance, in all."""
  policy = _run(bandits.significant(confidence=0.95), np.zeros(_ARMS), mixed)
  moved = np.abs(policy - 1 / _ARMS).max((1, 2)) > 1e-4
  assert moved.mean() <= 0.05
  plain = _run(bandits.softmax(), np.zeros(_ARMS), mixed)
  assert (plain[:, -1].max(1) > 0.3).mean() > 0.9


@pytest.mark.parametrize(
  "mixed", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_a_real_difference_is_found(mixed):
  mean = np.where(np.arange(_ARMS) == 3, 0.3 if mixed else 0.6, 0.0)
  policy = _run(bandits.significant(), mean, mixed)
  assert (policy[:, -1, 3] > 0.5).mean() > 0.95
  # And a bad arm among equals is avoided, though the others are left alike.
  policy = _run(bandits.significant(), -mean, mixed)[:, -1]
  assert (policy[:, 3] < 0.05).mean() > 0.95
  others = np.delete(policy, 3, axis=1)
  assert np.median(others.max(1) / others.min(1)) < 1.01


def test_the_advantage_by_hand():
  rng = np.random.default_rng(0)
  bandit = bandits.significant(confidence=0.9)
  rewards = [np.clip(rng.normal(m, 0.3, n), -1, 1) for m, n in _SAMPLES]
  state, update = bandit.init(3), jax.jit(bandit.update)
  for arm, values in enumerate(rewards):
    paid = jnp.arange(3) == arm
    for value in values:
      reward = jnp.where(paid, jnp.float32(value), 0)
      outcome = ArmOutcome(reward, paid.astype(jnp.float32), jnp.full(3, 1 / 3))
      state = update(state, outcome)
  mean = np.array([r.mean() for r in rewards])
  count = np.array([len(r) for r in rewards])
  variance = [(((r - r.mean()) ** 2).sum() + 1) / len(r) ** 2 for r in rewards]
  for k in range(3):
    weight = np.where(np.arange(3) == k, 2 / 3, -1 / 3)
    difference = weight @ mean
    rho, alpha = 50, 0.1 / 3
    radius = (weight**2) @ variance * (1 + rho / count[k])
    radius *= np.log((count[k] + rho) / rho / alpha**2)
    expected = max(abs(difference) - np.sqrt(radius), 0) * np.sign(difference)
    np.testing.assert_allclose(advantages(state)[k], expected, rtol=1e-3)
  assert advantages(state)[0] < 0 < advantages(state)[2]


_SAMPLES = ((-0.5, 80), (0.1, 120), (0.5, 60))


def test_a_discount_follows_a_change():
  first = np.where(np.arange(_ARMS) == 0, 0.6, -0.2)
  bandit = bandits.significant(bandits.exp3(), discount=0.99)
  state = bandit.init(_ARMS)
  update = jax.jit(bandit.update)
  ones = jnp.ones(_ARMS)
  for mean in (first, first[::-1]):
    for _ in range(500):
      state = update(state, ArmOutcome(jnp.float32(mean), ones, ones / _ARMS))
    best = advantages(state)
    assert best.argmax() == mean.argmax() and best.max() > 0.5


@pytest.mark.parametrize(
  "arguments", [{"confidence": 1.0}, {"confidence": 0.0}, {"discount": 0.0}]
)
def test_arguments_out_of_range(arguments):
  with pytest.raises(ValueError, match=next(iter(arguments))):
    bandits.significant(**arguments)
