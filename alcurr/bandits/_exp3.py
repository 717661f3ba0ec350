"""Exp3 (Auer et al. 2002, "The Nonstochastic Multiarmed Bandit Problem").

  p(j) = (1 - γ) softmax(w)_j + γ / K
  w_j += η r_j / p(j)      for the arm drawn

Figure 1 of the paper, with rewards in [-1, 1] for its [0, 1]. The p of the
update is the probability that the arm was really drawn with, so a sampler may
explore more than the bandit asks for.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.bandits._estimates import importance_weighted
from alcurr.core.arguments import check_positive, check_positive_fraction
from alcurr.types import ArmOutcome, Array, Bandit


class Exp3State(NamedTuple):
  weight: Array  # [K] float32, the largest is 0
  learning_rate: Array  # [] float32
  exploration: Array  # [] float32


def exp3(
  *, exploration: float = 0.1, learning_rate: float | None = None
) -> Bandit:
  """Draws arms by exponential weights of importance-weighted rewards.

  Args:
    exploration: γ in (0, 1], the share that is drawn uniformly.
    learning_rate: η, in [1e-18, 1e18]; None for γ / K, as in the paper.
  """
  check_positive_fraction(exploration=exploration)
  if learning_rate is not None:
    check_positive(learning_rate=learning_rate)

  def init(num_arms: int) -> Exp3State:
    rate = learning_rate or exploration / num_arms
    return Exp3State(
      jnp.zeros(num_arms, jnp.float32),
      jnp.float32(rate),
      jnp.float32(exploration),
    )

  def policy(key: Array, state: Exp3State) -> Array:
    uniform = state.exploration / state.weight.shape[0]
    return (1 - state.exploration) * jax.nn.softmax(state.weight) + uniform

  def update(state: Exp3State, outcome: ArmOutcome) -> Exp3State:
    reward = importance_weighted(outcome, outcome.reward)
    weight = state.weight + state.learning_rate * reward
    return state._replace(weight=weight - weight.max())

  return Bandit(init, policy, update)
