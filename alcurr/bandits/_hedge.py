"""Hedge (Freund and Schapire 1997, "A Decision-Theoretic Generalization of
On-Line Learning and an Application to Boosting", figure 1).

  p(j) = softmax(w)_j
  w_j += η r_j         for all arms

Hedge is for full information: every arm is paid at every step. If only some
are, the others move by the mean reward of those paid, which leaves their
probabilities relative to it as they were. Rewards that are negative on average
then do not favour the arms that were not drawn.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.bandits._estimates import credit_share
from alcurr.core.arguments import check_positive
from alcurr.types import ArmOutcome, Array, Bandit


class HedgeState(NamedTuple):
  weight: Array  # [K] float32, the largest is 0
  learning_rate: Array  # [] float32


def hedge(*, learning_rate: float = 0.1) -> Bandit:
  """Draws arms by exponential weights of the rewards of all arms.

  Args:
    learning_rate: η, in [1e-18, 1e18].
  """
  check_positive(learning_rate=learning_rate)

  def init(num_arms: int) -> HedgeState:
    return HedgeState(
      jnp.zeros(num_arms, jnp.float32), jnp.float32(learning_rate)
    )

  def policy(key: Array, state: HedgeState) -> Array:
    return jax.nn.softmax(state.weight)

  def update(state: HedgeState, outcome: ArmOutcome) -> HedgeState:
    mean = (credit_share(outcome) * outcome.reward).sum()
    reward = jnp.where(outcome.count > 0, outcome.reward, mean)
    weight = state.weight + state.learning_rate * reward
    return state._replace(weight=weight - weight.max())

  return Bandit(init, policy, update)
