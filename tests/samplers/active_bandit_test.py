"""The bandit against a NumPy oracle of the paper's rule, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
from scipy import stats

from alcurr import bandits
from alcurr.bandits import gains, rewards
from alcurr.samplers import active_bandit
from alcurr.testing._toys import assert_equal
from alcurr.types import Feedback

K = toy.NUM_ARMS


def _make(**changes):
  arguments = {
    "bandit": bandits.softmax(learning_rate=0.2),
    "gain": gains.prediction_gain(),
    "reward": rewards.rank(num_steps=500),
    "batch_size": 16,
    "warmup": 100,
    "arms_per_batch": 1,
  }
  return active_bandit(**(arguments | changes))


def _oracle_policy(weight, epsilon):
  e = np.exp(weight - weight.max())
  return (1 - epsilon) * e / e.sum() + epsilon / K


@pytest.mark.parametrize(
  ("arms_per_batch", "window"),
  [
    (8, 60),
    *(
      pytest.param(*case, marks=pytest.mark.slow)
      for case in ((1, 60), (8, None), (16, 60), (1, None), (16, None))
    ),
  ],
)
def test_a_numpy_oracle_follows_it_for_500_steps(window, arms_per_batch):
  """Ranks by SciPy, weights and policy by the formula, gains with ties."""
  sampler = _make(
    reward=rewards.rank(window=window, num_steps=500),
    arms_per_batch=arms_per_batch,
  )
  pool = toy.make_pool()
  state = sampler.init(jax.random.key(0), pool)
  sample, update = jax.jit(sampler.sample), jax.jit(sampler.update)
  rng = np.random.default_rng(1)
  weight, history = np.zeros(K), []
  drawn = [set() for _ in range(K)]
  size = np.asarray(pool.partitions["difficulty"].size)
  for t in range(1, 501):
    draw = sample(jax.random.fold_in(jax.random.key(1), t), state, pool)
    np.testing.assert_allclose(
      draw.policy, _oracle_policy(weight, 0.2), rtol=2e-5
    )
    arm = np.asarray(draw.arm)
    # Within an arm no example comes again before all of them came.
    for i, a in zip(draw.index.tolist(), arm, strict=True):
      assert i not in drawn[a]
      drawn[a].add(i)
      if len(drawn[a]) == size[a]:
        drawn[a] = set()
    # Multiples of 1/8 are exact in float32, so that ties are ties.
    gain = rng.integers(-8, 8 + arm, arm.shape) / 8
    state = update(state, draw, Feedback(jnp.float32(gain), draw.arm))
    paid = np.unique(arm)
    mean = np.float32([np.float32(gain[arm == a].mean()) for a in paid])
    history = (history + mean.tolist())[-(window or 10**6) :]
    ranks = stats.rankdata(history, method="average")[-len(paid) :]
    if t > 100:
      for a, r in zip(paid, ranks, strict=True):
        weight[a] += 0.2 * (2 * r - len(history)) / len(history)
  np.testing.assert_allclose(state.bandit.weight, weight, rtol=1e-4, atol=1e-4)
  assert np.abs(weight).max() > 1  # the test has seen it learn


@pytest.mark.slow  # NumPy, above, follows it too
def test_an_arm_of_a_mixed_batch_is_paid_its_own_mean_gain():
  """Three arms with gains 1, 2 and 3: ranks 1, 2, 3 of 3 by hand."""
  sampler = _make(reward=rewards.rank(window=50), arms_per_batch=16, warmup=0)
  pool = toy.make_pool()
  state = sampler.init(jax.random.key(0), pool)
  draw = sampler.sample(jax.random.key(1), state, pool)
  arm = jnp.array([0] * 5 + [2] * 5 + [4] * 6)
  gain = jnp.array([1.0] * 5 + [4, 0, 2, 2, 2] + [3.0] * 6)
  state = sampler.update(state, draw, Feedback(gain, arm))
  expected = 0.2 * np.array([-1 / 3, 0, 1 / 3, 0, 1])
  np.testing.assert_allclose(state.bandit.weight, expected, atol=1e-6)


@pytest.mark.parametrize(
  "bad",
  [
    np.nan,
    pytest.param(np.inf, marks=pytest.mark.slow),
    pytest.param(-np.inf, marks=pytest.mark.slow),
  ],
)
@pytest.mark.parametrize("reward", rewards.REWARDS)
def test_gains_that_are_not_finite_are_not_learned_from(bad, reward):
  """It learns what it would learn from the other gains, and counts them."""
  arguments = {"num_steps": 500} if reward == "rank" else {}
  sampler = _make(
    reward=rewards.REWARDS[reward](**arguments), arms_per_batch=16, warmup=0
  )
  pool = toy.make_pool()
  start = sampler.init(jax.random.key(0), pool)
  draw = sampler.sample(jax.random.key(1), start, pool)
  update = jax.jit(sampler.update)
  gain = np.random.default_rng(2).integers(-8, 8, 16).astype(np.float32)
  arm = np.repeat(np.arange(4, dtype=np.int32), 4)
  # All gains of arm 0, and half of those of arm 1.
  lost = np.arange(16) < 6
  state = good = start
  for factor in (1, -1, 2):
    gains = np.where(lost, bad, factor * gain).astype(np.float32)
    state = update(state, draw, Feedback(gains, arm))
    finite = Feedback(factor * gain[~lost], arm[~lost])
    good = update(good, draw, finite)
  assert int(state.ignored) == 3 * 6 and int(good.ignored) == 0
  assert_equal(state._replace(ignored=good.ignored), good)
  # Sums of finite gains may be infinite.
  huge = Feedback(jnp.full(16, 3e38), arm)
  after = update(state, draw, huge)
  assert int(after.ignored) == 3 * 6 + 16
  assert_equal(after.bandit, state.bandit)


@pytest.mark.slow  # NumPy, above, has epsilon
def test_epsilon_one_is_uniform_over_arms_whatever_was_learned():
  sampler = _make(epsilon=1.0)
  pool = toy.make_pool()
  state = sampler.init(jax.random.key(0), pool)
  learned = state.bandit._replace(weight=jnp.arange(K) * 5.0)
  state = state._replace(bandit=learned)
  draw = sampler.sample(jax.random.key(0), state, pool)
  np.testing.assert_allclose(draw.policy, np.full(K, 1 / K), rtol=1e-6)


def test_a_schedule_moves_epsilon():
  sampler = _make(epsilon=lambda step: 1.0 - 0.25 * step)
  pool = toy.make_pool()
  state = sampler.init(jax.random.key(0), pool)
  draw = sampler.sample(jax.random.key(0), state, pool)
  seen = []
  for _ in range(6):
    seen.append(float(state.epsilon))
    state = sampler.update(state, draw, Feedback(jnp.ones(16), draw.arm))
  assert seen == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


@pytest.mark.parametrize(
  ("changes", "argument"),
  [
    ({"epsilon": 2}, "epsilon"),
    ({"epsilon": -0.1}, "epsilon"),
    ({"epsilon": lambda step: 3.0}, "epsilon"),
    ({"epsilon": float("nan")}, "epsilon"),
    ({"warmup": -1}, "warmup"),
    ({"interval": 0}, "interval"),
    ({"arms_per_batch": 5}, "arms_per_batch"),
    ({"arms_per_batch": 0}, "arms_per_batch"),
    ({"batch_size": 0}, "batch_size"),
  ],
)
def test_impossible_numbers_are_refused_at_once(changes, argument):
  with pytest.raises(ValueError, match=f"^{argument} "):
    _make(**changes)


def test_pools_that_do_not_fit_are_refused():
  pool = toy.make_pool(60)  # arms of 12
  with pytest.raises(ValueError, match="smallest of the 5 arms"):
    _make().init(jax.random.key(0), pool)
  _make(replacement=True).init(jax.random.key(0), pool)
  with pytest.raises(ValueError, match="colour"):
    _make(partition="colour").init(jax.random.key(0), pool)
