"""The bandit of "Data Sampling Algorithms for Active Learning".

Policy: p(j) = softmax(w)_j, with w = 0 initially. Update: w_j += η r for each
arm paid, without an importance weight 1 / p(j) (the paper has none).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_positive
from alcurr.types import ArmOutcome, Array, Bandit


class SoftmaxState(NamedTuple):
  weight: Array  # [K] float32
  # In the state rather than the program, so that bandits that differ only in
  # their numbers share one compilation.
  learning_rate: Array  # [] float32


def softmax(*, learning_rate: float = 0.2) -> Bandit:
  """Draws arms by the softmax of their accumulated rewards.

  Args:
    learning_rate: η of the paper (1/5 there), in [1e-18, 1e18].
  """
  check_positive(learning_rate=learning_rate)

  def init(num_arms: int) -> SoftmaxState:
    return SoftmaxState(
      jnp.zeros(num_arms, jnp.float32), jnp.float32(learning_rate)
    )

  def policy(key: Array, state: SoftmaxState) -> Array:
    return jax.nn.softmax(state.weight)

  def update(state: SoftmaxState, outcome: ArmOutcome) -> SoftmaxState:
    step = state.learning_rate * outcome.reward
    step = jnp.where(outcome.count > 0, step, 0)
    return state._replace(weight=state.weight + step)

  return Bandit(init, policy, update)
