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
