"""Rewards against SciPy's ranks, NumPy's moments, and tables by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from alcurr.bandits import rewards

_KEY = jax.random.key(0)


def _one_arm(gains, scale=None, **arguments):
  """Returns the rewards of gains that come one a step."""
  scale = scale or rewards.rank(**arguments)
  state, received = scale.init(_KEY, 1), []
  for gain in gains:
    reward, state = scale.apply(state, jnp.float32([gain]), jnp.array([True]))
    received.append(float(reward[0]))
  return received


def test_table_worked_by_hand():
  """Gains 2, 5, 1, 5: ranks 1 of 1, 2 of 2, 1 of 3, (3 + 4) / 2 of 4."""
  expected = [1, 1, -1 / 3, 3 / 4]
  np.testing.assert_allclose(
    _one_arm([2, 5, 1, 5], num_steps=4), expected, rtol=1e-6
  )


def test_a_window_forgets():
  """Among the last two: 1 below 3, 2 above 1, 0 below 2."""
  np.testing.assert_allclose(
    _one_arm([3, 1, 2, 0], window=2), [1, 0, 1, 0], atol=1e-6
  )


@settings(max_examples=25, deadline=None)
@given(
  st.lists(st.integers(-4, 4), min_size=1, max_size=12), st.integers(2, 12)
)
def test_any_gains_agree_with_scipy(gains, window):
  received = _one_arm(gains, window=window)
  for t, reward in enumerate(received, start=1):
    seen = gains[max(0, t - window) : t]
    rank = stats.rankdata(seen, method="average")[-1]
    assert reward == pytest.approx((2 * rank - len(seen)) / len(seen), abs=1e-6)
    assert -1 < reward <= 1


def test_gains_that_are_not_valid_enter_no_history_and_get_nothing():
  scale = rewards.rank(window=4)
  state = scale.init(_KEY, 2)
  valid = jnp.array([True, False, True])
  reward, state = scale.apply(state, jnp.array([1.0, 9.0, 3.0]), valid)
  np.testing.assert_allclose(reward, [0, 0, 1], atol=1e-6)
  assert int(state.count) == 2
  assert sorted(state.history.tolist()) == [0, 0, 1, 3]


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"window": 1}, "window"),
    ({}, "num_steps"),
  ],
)
def test_bad_arguments(arguments, message):
  with pytest.raises(ValueError, match=message):
    rewards.rank(**arguments)


def test_a_window_smaller_than_a_step_is_refused():
  with pytest.raises(ValueError, match="window 3"):
    rewards.rank(window=3).init(_KEY, 5)


def test_quantiles_of_all_gains_while_the_reservoir_holds_them():
  rng = np.random.default_rng(0)
  gains = rng.normal(size=30).astype(np.float32)
  scale = rewards.quantile(low=0.25, high=0.75, reservoir=30)
  for t, reward in enumerate(_one_arm(gains, scale), start=1):
    low, high = np.quantile(gains[:t], [0.25, 0.75])
    expected = np.sign(gains[t - 1] - low)
    if high > low:
      expected = np.clip(2 * (gains[t - 1] - low) / (high - low) - 1, -1, 1)
    assert reward == pytest.approx(expected, abs=1e-5)


def test_equal_gains_have_no_quantiles_to_lie_between():
  assert _one_arm([2.0, 2.0, 2.0], rewards.quantile()) == [0, 0, 0]


def test_the_reservoir_is_a_uniform_sample_of_all_gains():
  """Each of 40 gains is among the 10 with probability 1/4."""
  scale = rewards.quantile(reservoir=10)

  def sample(key):
    state = scale.init(key, 1)
    gains = jnp.arange(40.0)[:, None]

    def step(state, gain):
      return scale.apply(state, gain, jnp.array([True]))[1], ()

    return jax.lax.scan(step, state, gains)[0].reservoir

  trials = 2000
  drawn = jax.vmap(sample)(jax.random.split(jax.random.key(1), trials))
  often = np.bincount(np.asarray(drawn, int).ravel(), minlength=40)
  expected, deviation = trials / 4, np.sqrt(trials * 3 / 16)
  assert len(often) == 40
  assert np.abs(often - expected).max() < 5 * deviation
  for row in np.asarray(drawn[:50]):
    assert len(set(row)) == 10


def test_z_scores_by_discounted_moments():
  rng = np.random.default_rng(1)
  gains = (1e3 + rng.normal(size=40)).astype(np.float32)
  scale = rewards.z_score(decay=0.9, limit=1.5)
  received = _one_arm(gains, scale)
  for t in range(2, len(gains) + 1):
    seen, weight = np.float64(gains[:t]), 0.9 ** np.arange(t)[::-1]
    mean = np.average(seen, weights=weight)
    deviation = np.sqrt(np.average((seen - mean) ** 2, weights=weight))
    expected = np.clip((seen[-1] - mean) / (1.5 * deviation), -1, 1)
    assert received[t - 1] == pytest.approx(expected, abs=2e-2)
  assert _one_arm([3.0, 3.0], scale) == [0, 0]


def test_clip_keeps_the_size_of_a_gain():
  received = _one_arm([0.1, -0.4, 3.0], rewards.clip(scale=0.5))
  np.testing.assert_allclose(received, [0.2, -0.8, 1.0], rtol=1e-6)


@pytest.mark.parametrize("name", ["clip", "quantile", "z_score"])
def test_gains_that_are_not_valid_change_no_reward(name):
  scale = rewards.REWARDS[name]()
  gains, valid = jnp.array([0.5, 9.0]), jnp.array([True, False])
  state = padded = scale.init(_KEY, 2)
  for factor in (1.0, -2.0, 0.5):
    alone, state = scale.apply(state, factor * gains[:1], valid[:1])
    both, padded = scale.apply(padded, factor * gains, valid)
    np.testing.assert_allclose(both, [alone[0], 0], rtol=1e-6)


@pytest.mark.parametrize(
  ("name", "arguments"),
  [
    ("quantile", {"low": 0.8, "high": 0.2}),
    ("quantile", {"reservoir": 1}),
    ("z_score", {"decay": 1.5}),
    ("z_score", {"limit": 0}),
    ("clip", {"scale": float("nan")}),
  ],
)
def test_values_out_of_range(name, arguments):
  with pytest.raises(ValueError, match=next(iter(arguments))):
    rewards.REWARDS[name](**arguments)


@pytest.mark.parametrize("name", rewards.REWARDS)
def test_the_largest_gains_have_finite_rewards(name):
  arguments = {"window": 3} if name == "rank" else {}
  scale = rewards.REWARDS[name](**arguments)
  state = scale.init(_KEY, 2)
  for gains in ([3e38, -3e38], [3e38, 3e38], [0.0, 1.0]):
    reward, state = scale.apply(state, jnp.float32(gains), jnp.ones(2, bool))
    assert (jnp.abs(reward) <= 1).all()
    leaves = [x for x in state if x.dtype == jnp.float32]
    assert all(jnp.isfinite(x).all() for x in leaves)


@pytest.mark.parametrize("name", ["rank", "quantile"])
def test_gains_beyond_the_range_of_int32_are_still_rewarded(name):
  """A state after 2^31 gains; 9 is the largest of those remembered."""
  arguments = {"window": 4} if name == "rank" else {"reservoir": 4}
  scale = rewards.REWARDS[name](**arguments)
  state = scale.init(_KEY, 1)
  for gain in (1.0, 2.0, 3.0, 4.0, 5.0):
    _, state = scale.apply(state, jnp.float32([gain]), jnp.array([True]))
  if name == "quantile":
    state = state._replace(count=jnp.int32(2**31 - 2))
  for _ in range(12):
    reward, state = scale.apply(state, jnp.float32([9.0]), jnp.array([True]))
    assert float(reward[0]) > 0 and int(state.count) >= 4
