"""The rank reward against SciPy's ranks and a table worked by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from alcurr.bandits import rewards


def _one_arm(gains, **arguments):
  """Returns the rewards of gains that come one a step."""
  scale = rewards.rank(**arguments)
  state, received = scale.init(1), []
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
  state = scale.init(2)
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
    rewards.rank(window=3).init(5)
