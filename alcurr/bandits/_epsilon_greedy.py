"""The ε-greedy bandit (Sutton and Barto 2018, "Reinforcement Learning: An
Introduction", sections 2.2 and 2.5).

  p(j) = (1 - ε) 1[j has the highest Q] + ε / K
  Q_j += α (r_j - Q_j)    for the arm paid
"""

from typing import NamedTuple

import jax.numpy as jnp

from alcurr.bandits._estimates import uniform_over_best
from alcurr.core.arguments import check_fraction, check_positive_fraction
from alcurr.types import ArmOutcome, Array, Bandit


class EpsilonGreedyState(NamedTuple):
  value: Array  # [K] float32, Q
  count: Array  # [K] float32, number of steps that paid the arm
  epsilon: Array  # [] float32


def epsilon_greedy(
  *, epsilon: float = 0.1, step_size: float | None = 0.1
) -> Bandit:
  """Draws the arm with the highest estimate of its reward, or any arm.

  Args:
    epsilon: ε in [0, 1], the share that is drawn uniformly.
    step_size: α in (0, 1], which forgets; None for the mean of all rewards.
  """
  check_fraction(epsilon=epsilon)
  if step_size is not None:
    check_positive_fraction(step_size=step_size)

  def init(num_arms: int) -> EpsilonGreedyState:
    zeros = jnp.zeros(num_arms, jnp.float32)
    return EpsilonGreedyState(zeros, zeros, jnp.float32(epsilon))

  def policy(key: Array, state: EpsilonGreedyState) -> Array:
    uniform = state.epsilon / state.value.shape[0]
    return (1 - state.epsilon) * uniform_over_best(state.value) + uniform

  def update(
    state: EpsilonGreedyState, outcome: ArmOutcome
  ) -> EpsilonGreedyState:
    paid = outcome.count > 0
    count = state.count + paid.astype(jnp.float32)
    rate = 1 / jnp.maximum(count, 1) if step_size is None else step_size
    moved = state.value + rate * (outcome.reward - state.value)
    value = jnp.where(paid, moved, state.value)
    return state._replace(value=value, count=count)

  return Bandit(init, policy, update)
