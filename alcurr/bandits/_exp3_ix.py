"""Exp3-IX (Neu 2015, "Explore No More", algorithm 1).

  p(j) = softmax(w)_j
  w_j -= η l_j / (p(j) + γ),  l_j = (1 - r_j) / 2,    for the arm drawn

The implicit exploration γ bounds an estimate, at the price of a small bias, so
that the regret holds with high probability without uniform exploration.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.bandits._estimates import credit_share
from alcurr.core.arguments import check_positive
from alcurr.types import ArmOutcome, Array, Bandit


class Exp3IXState(NamedTuple):
  weight: Array  # [K] float32, the largest is 0
  learning_rate: Array  # [] float32


def exp3_ix(*, learning_rate: float = 0.05) -> Bandit:
  """Draws arms by exponential weights of optimistic estimates of their losses.

  Args:
    learning_rate: η, in [1e-18, 1e18]; γ = η / 2, as in the paper.
  """
  check_positive(learning_rate=learning_rate)

  def init(num_arms: int) -> Exp3IXState:
    return Exp3IXState(
      jnp.zeros(num_arms, jnp.float32), jnp.float32(learning_rate)
    )

  def policy(key: Array, state: Exp3IXState) -> Array:
    return jax.nn.softmax(state.weight)

  def update(state: Exp3IXState, outcome: ArmOutcome) -> Exp3IXState:
    loss = credit_share(outcome) * (1 - outcome.reward) / 2
    estimate = loss / (outcome.prob + state.learning_rate / 2)
    weight = state.weight - state.learning_rate * estimate
    return state._replace(weight=weight - weight.max())

  return Bandit(init, policy, update)
