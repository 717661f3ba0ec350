"""The bandit of "Data Sampling Algorithms for Active Learning".

Policy: p(j) = softmax(w)_j, w = 0 at first. Update: w_j += η r for the arm
paid, without an importance weight 1 / p(j) (the paper has none).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.types import Array, Bandit


class SoftmaxState(NamedTuple):
  weight: Array  # [K] float32
  # In the state and not in the program, so that bandits which differ in their
  # numbers alone share one compilation.
  learning_rate: Array  # [] float32


def softmax(*, learning_rate: float = 0.2) -> Bandit:
  """Softmax over weights that rewards are added to.

  Args:
    learning_rate: η of the paper (1/5 there), positive and finite.
  """
  if not 0 < learning_rate < float("inf"):
    raise ValueError(
      f"learning_rate must be positive and finite, got {learning_rate}"
    )

  def init(num_arms: int) -> SoftmaxState:
    return SoftmaxState(
      jnp.zeros(num_arms, jnp.float32), jnp.float32(learning_rate)
    )

  def policy(key: Array, state: SoftmaxState) -> Array:
    return jax.nn.softmax(state.weight)

  def update(state: SoftmaxState, reward: Array, paid: Array) -> SoftmaxState:
    step = jnp.where(paid, state.learning_rate * reward, 0)
    return state._replace(weight=state.weight + step)

  return Bandit(init, policy, update)
