"""The softmax bandit by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alcurr import bandits


def test_two_updates_worked_by_hand():
  bandit = bandits.softmax(learning_rate=0.5)
  state = bandit.init(3)
  np.testing.assert_allclose(bandit.policy(jax.random.key(0), state), 1 / 3)
  reward = jnp.array([1.0, -1.0, 0.5])
  state = bandit.update(state, reward, jnp.array([True, True, False]))
  np.testing.assert_allclose(state.weight, [0.5, -0.5, 0.0])
  state = bandit.update(state, reward, jnp.array([False, False, True]))
  np.testing.assert_allclose(state.weight, [0.5, -0.5, 0.25])
  e = np.exp([0.5, -0.5, 0.25])
  np.testing.assert_allclose(
    bandit.policy(jax.random.key(0), state), e / e.sum(), rtol=1e-6
  )


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_learning_rate_must_be_positive(rate):
  with pytest.raises(ValueError, match="learning_rate must be positive"):
    bandits.softmax(learning_rate=rate)
