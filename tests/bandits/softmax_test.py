"""The softmax bandit by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alcurr import bandits
from alcurr.types import ArmOutcome


def test_two_updates_worked_by_hand():
  bandit = bandits.softmax(learning_rate=0.5)
  state = bandit.init(3)
  np.testing.assert_allclose(bandit.policy(jax.random.key(0), state), 1 / 3)
  reward, prob = jnp.array([1.0, -1.0, 0.5]), jnp.full(3, 1 / 3)
  first = ArmOutcome(reward, count=jnp.array([1.0, 3.0, 0.0]), prob=prob)
  state = bandit.update(state, first)
  np.testing.assert_allclose(state.weight, [0.5, -0.5, 0.0])
  second = ArmOutcome(reward, count=jnp.array([0.0, 0.0, 1.0]), prob=prob)
  state = bandit.update(state, second)
  np.testing.assert_allclose(state.weight, [0.5, -0.5, 0.25])
  e = np.exp([0.5, -0.5, 0.25])
  np.testing.assert_allclose(
    bandit.policy(jax.random.key(0), state), e / e.sum(), rtol=1e-6
  )


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_learning_rate_must_be_positive(rate):
  with pytest.raises(ValueError, match="learning_rate"):
    bandits.softmax(learning_rate=rate)


@pytest.mark.parametrize(
  "name", ["softmax", "hedge", "exp3", "exp3s", "exp3_ix"]
)
def test_no_learning_rate_makes_a_policy_that_is_not_finite(name):
  for rate in (3e38, 1e-50, float("inf"), float("nan")):
    with pytest.raises(ValueError, match=r"^learning_rate "):
      bandits.BANDITS[name](learning_rate=rate)
  bandit = bandits.BANDITS[name](learning_rate=1e18)
  state = bandit.init(3)
  for arm in (0, 1, 0, 2):
    policy = bandit.policy(jax.random.key(0), state)
    count = jnp.zeros(3).at[arm].set(1)
    # As a sampler that explores would have drawn it.
    prob = 0.8 * policy + 0.2 / 3
    state = bandit.update(state, ArmOutcome(-count, count, prob))
    assert jnp.isfinite(bandit.policy(jax.random.key(0), state)).all()
