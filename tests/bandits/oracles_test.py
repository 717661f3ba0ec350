"""Every bandit against its paper's rule in plain NumPy, an arm at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alcurr import bandits
from alcurr.types import ArmOutcome

_ARMS, _STEPS = 4, 60


def _softmax(w):
  e = np.exp(np.asarray(w) - np.max(w))
  return e / e.sum()


def _best(q):
  best = np.asarray(q) == np.max(q)
  return best / best.sum()


def _outcomes(seed):
  """Draws [T] arms, their rewards, and the probabilities [T, K] they had."""
  rng = np.random.default_rng(seed)
  prob = rng.dirichlet(np.full(_ARMS, 3.0), _STEPS)
  arm = np.array([rng.choice(_ARMS, p=p) for p in prob])
  return arm, rng.uniform(-1, 1, _STEPS), prob


def _play(bandit, arm, reward, prob):
  """Returns the state after each step."""
  state, states = bandit.init(_ARMS), []
  for a, r, p in zip(arm, reward, prob, strict=True):
    paid = np.arange(_ARMS) == a
    outcome = ArmOutcome(
      jnp.float32(paid * r), jnp.float32(paid), jnp.float32(p)
    )
    state = bandit.update(state, outcome)
    states.append(state)
  return states


def _exp3(arm, reward, prob):
  w, gamma = np.zeros(_ARMS), 0.2
  for a, r, p in zip(arm, reward, prob, strict=True):
    w[a] += gamma / _ARMS * r / p[a]
    yield (1 - gamma) * _softmax(w) + gamma / _ARMS


def _exp3_ix(arm, reward, prob):
  w, eta = np.zeros(_ARMS), 0.3
  for a, r, p in zip(arm, reward, prob, strict=True):
    w[a] -= eta * (1 - r) / 2 / (p[a] + eta / 2)
    yield _softmax(w)


def _exp3s(arm, reward, prob):
  w, eta, eps, beta = np.zeros(_ARMS), 0.1, 0.05, 0.02
  for t, (a, r, p) in enumerate(zip(arm, reward, prob, strict=True), 1):
    gain = [(r * (i == a) + beta) / p[i] for i in range(_ARMS)]
    alpha = min(1 / t, (_ARMS - 1) / _ARMS)
    old = w.copy()
    for i in range(_ARMS):
      others = [np.exp(old[j] + eta * gain[j]) for j in range(_ARMS) if j != i]
      w[i] = np.log(
        (1 - alpha) * np.exp(old[i] + eta * gain[i])
        + alpha / (_ARMS - 1) * sum(others)
      )
    yield (1 - eps) * _softmax(w) + eps / _ARMS


def _hedge(arm, reward, prob):
  # With a single arm paid, all arms move by its reward.
  for _ in arm:
    yield np.full(_ARMS, 1 / _ARMS)


def _greedy(arm, reward, prob):
  sums, counts = np.zeros(_ARMS), np.zeros(_ARMS)
  for a, r in zip(arm, reward, strict=True):
    sums[a] += r
    counts[a] += 1
    q = [s / n if n else 0 for s, n in zip(sums, counts, strict=True)]
    yield 0.9 * _best(q) + 0.1 / _ARMS


def _constant_greedy(arm, reward, prob):
  q = np.zeros(_ARMS)
  for a, r in zip(arm, reward, strict=True):
    q[a] += 0.3 * (r - q[a])
    yield 0.9 * _best(q) + 0.1 / _ARMS


def _bounds(total, count, exploration):
  n = sum(count)
  return [
    s / c + np.sqrt(exploration * np.log(max(n, 1)) / c) if c else np.inf
    for s, c in zip(total, count, strict=True)
  ]


def _discounted_ucb(arm, reward, prob):
  for t in range(1, len(arm) + 1):
    age = 0.9 ** np.arange(t)[::-1]
    total = [((1 + reward[:t]) / 2 * age)[arm[:t] == i].sum() for i in range(4)]
    count = [age[arm[:t] == i].sum() for i in range(_ARMS)]
    yield _best(_bounds(total, count, 2.0))


def _window_ucb(arm, reward, prob):
  for t in range(1, len(arm) + 1):
    a, x = arm[max(t - 8, 0) : t], (1 + reward[max(t - 8, 0) : t]) / 2
    total = [x[a == i].sum() for i in range(_ARMS)]
    count = [(a == i).sum() for i in range(_ARMS)]
    yield _best(_bounds(total, count, 0.5))


def _tscl_online(arm, reward, prob):
  q = np.zeros(_ARMS)
  for a, r in zip(arm, reward, strict=True):
    q[a] = 0.2 * r + 0.8 * q[a]
    yield _softmax(np.abs(q) / 0.5)


def _tscl_window(arm, reward, prob):
  points = [[] for _ in range(_ARMS)]
  for t, (a, r) in enumerate(zip(arm, reward, strict=True)):
    score = points[a][-1][1] if points[a] else 0.0
    points[a].append((t, score + r))
    slope = [
      np.polyfit(*np.transpose(p[-5:]), 1)[0] if len(p) > 1 else 0.0
      for p in points
    ]
    yield _softmax(np.abs(slope) / 0.5)


RULES = {
  "exp3": (bandits.exp3(exploration=0.2), _exp3),
  "exp3_ix": (bandits.exp3_ix(learning_rate=0.3), _exp3_ix),
  "exp3s": (
    bandits.exp3s(learning_rate=0.1, exploration=0.05, bonus=0.02),
    _exp3s,
  ),
  "hedge": (bandits.hedge(), _hedge),
  "mean greedy": (
    bandits.epsilon_greedy(epsilon=0.1, step_size=None),
    _greedy,
  ),
  "greedy": (
    bandits.epsilon_greedy(epsilon=0.1, step_size=0.3),
    _constant_greedy,
  ),
  "discounted ucb": (bandits.ucb(discount=0.9), _discounted_ucb),
  "window ucb": (bandits.ucb(window=8, exploration=0.5), _window_ucb),
  "online tscl": (
    bandits.tscl(step_size=0.2, temperature=0.5),
    _tscl_online,
  ),
  "window tscl": (
    bandits.tscl(variant="window", window=5, temperature=0.5),
    _tscl_window,
  ),
}


@pytest.mark.parametrize("rule", RULES)
def test_policy_after_each_step(rule):
  bandit, oracle = RULES[rule]
  arm, reward, prob = _outcomes(seed=len(rule))
  states = _play(bandit, arm, reward, prob)
  expected = oracle(arm, reward, prob)
  for state, policy in zip(states, expected, strict=True):
    np.testing.assert_allclose(
      bandit.policy(jax.random.key(0), state), policy, rtol=1e-3, atol=1e-5
    )


def test_hedge_with_every_arm_paid_is_the_product_of_exponentials():
  bandit = bandits.hedge(learning_rate=0.3)
  reward = np.random.default_rng(0).uniform(-1, 1, (20, _ARMS))
  state = bandit.init(_ARMS)
  for r in reward:
    ones = jnp.ones(_ARMS)
    state = bandit.update(state, ArmOutcome(jnp.float32(r), ones, ones / 4))
  np.testing.assert_allclose(
    bandit.policy(jax.random.key(0), state),
    _softmax(0.3 * reward.sum(0)),
    rtol=1e-5,
  )


def test_an_estimate_from_several_arms_is_the_mean_over_the_draws():
  """Six draws: arm 0 four times, arm 2 twice."""
  bandit = bandits.exp3(exploration=1.0, learning_rate=1.0)
  outcome = ArmOutcome(
    reward=jnp.array([0.5, 0.0, -1.0]),
    count=jnp.array([4.0, 0.0, 2.0]),
    prob=jnp.array([0.5, 0.3, 0.2]),
  )
  weight = bandit.update(bandit.init(3), outcome).weight
  estimate = np.array([4 / 6 * 0.5 / 0.5, 0, 2 / 6 * -1.0 / 0.2])
  np.testing.assert_allclose(weight, estimate - estimate.max(), rtol=1e-6)


def test_thompson_draws_an_arm_as_often_as_it_is_the_best():
  bandit = bandits.thompson(scale=0.7, num_samples=20_000)
  state = bandit.init(2)
  for arm, reward in ((0, 0.9), (0, 0.7), (1, -0.2), (1, 0.1), (1, 0.5)):
    paid = jnp.float32(jnp.arange(2) == arm)
    state = bandit.update(state, ArmOutcome(paid * reward, paid, paid))
  # Two normals: the probability that the first is larger in closed form.
  mean = 1.6 / 3 - 0.4 / 4
  deviation = 0.7 * np.sqrt(1 / 3 + 1 / 4)
  z = mean / deviation / np.sqrt(2)
  expected = (1 + float(jax.lax.erf(z))) / 2
  policy = bandit.policy(jax.random.key(3), state)
  np.testing.assert_allclose(policy[0], expected, atol=4 * 0.5 / 20_000**0.5)


def test_naive_tscl_stays_on_an_arm_and_learns_the_slope_of_its_curve():
  bandit = bandits.tscl(variant="naive", window=3, step_size=0.5)
  state, key = bandit.init(_ARMS), jax.random.key(0)

  def pay(state, arm, reward):
    paid = jnp.float32(jnp.arange(_ARMS) == arm)
    return bandit.update(state, ArmOutcome(paid * reward, paid, paid / 4 + 0.1))

  np.testing.assert_allclose(bandit.policy(key, state), 0.25)
  state = pay(state, 2, 0.5)
  np.testing.assert_allclose(bandit.policy(key, state), [0, 0, 1, 0])
  state = pay(state, 0, 1.0)  # drawn by the sampler's exploration
  state = pay(state, 2, -0.25)
  state = pay(state, 2, 0.75)
  slope = np.polyfit(range(3), np.cumsum([0.5, -0.25, 0.75]), 1)[0]
  np.testing.assert_allclose(state.value, [0, 0, 0.5 * slope, 0], rtol=1e-5)
  np.testing.assert_allclose(bandit.policy(key, state), [0, 0, 1, 0])
  state = pay(state, 1, 0.5)  # a new arm is drawn
  np.testing.assert_allclose(bandit.policy(key, state), [0, 1, 0, 0])


def test_sampling_tscl_draws_from_the_last_rewards():
  """Arm 0 has 1 of its last 4 rewards above arm 1's only ones."""
  bandit = bandits.tscl(variant="sampling", window=4)
  state = bandit.init(2)
  untried = bandit.policy(jax.random.key(0), state)
  np.testing.assert_allclose(untried, 0.5)
  for arm, reward in ((0, 0.9), (0, 0.1), (0, 0.1), (0, -0.1), (0, -0.8)):
    paid = jnp.float32(jnp.arange(2) == arm)
    state = bandit.update(state, ArmOutcome(paid * reward, paid, paid))
  paid = jnp.array([0.0, 1.0])
  state = bandit.update(state, ArmOutcome(paid * 0.5, paid, paid))
  keys = jax.random.split(jax.random.key(1), 4000)
  policy = jax.vmap(bandit.policy, (0, None))(keys, state).mean(0)
  np.testing.assert_allclose(policy[0], 0.25, atol=4 * 0.5 / 4000**0.5)


def test_exp3s_neither_overflows_nor_turns_the_first_reward_around():
  bandit = bandits.exp3s(learning_rate=0.1)
  paid = jnp.float32(jnp.arange(10) == 3)
  first = ArmOutcome(paid, paid, jnp.full(10, 0.1))
  state = bandit.update(bandit.init(10), first)
  policy = bandit.policy(jax.random.key(0), state)
  np.testing.assert_allclose(policy, 0.1, rtol=1e-5)
  big = bandits.exp3s(learning_rate=1000.0)
  state = big.update(big.update(big.init(10), first), first)
  assert np.isfinite(big.policy(jax.random.key(0), state)).all()
