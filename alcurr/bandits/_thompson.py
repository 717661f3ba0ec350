"""Thompson sampling with Gaussian posteriors (Agrawal and Goyal 2013, "Further
Optimal Regret Bounds for Thompson Sampling", section 2.2).

  θ_j ~ N(r̄_j, σ² / (n_j + 1)),    the arm with the highest θ_j

Sums are discounted as in Raj and Kalyani 2017, "Taming Non-stationary Bandits:
A Bayesian Approach", so that the best arm may change.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import (
  check_at_least,
  check_positive,
  check_positive_fraction,
)
from alcurr.types import ArmOutcome, Array, Bandit


class ThompsonState(NamedTuple):
  total: Array  # [K] float32, discounted sum of rewards
  count: Array  # [K] float32, discounted number of steps that paid the arm
  discount: Array  # [] float32
  scale: Array  # [] float32


def thompson(
  *, scale: float = 1.0, discount: float = 1.0, num_samples: int = 16
) -> Bandit:
  """Draws arms as often as their sampled rewards are the highest.

  Args:
    scale: σ, in [1e-18, 1e18]: the standard deviation of a reward.
    discount: of the past at each step, in (0, 1].
    num_samples: samples of all arms that a policy is the mean of. With 1, as
      in the paper, each policy draws a single arm; more give every arm of a
      batch a draw of its own.
  """
  check_positive(scale=scale)
  check_at_least(1, num_samples=num_samples)
  check_positive_fraction(discount=discount)

  def init(num_arms: int) -> ThompsonState:
    zeros = jnp.zeros(num_arms, jnp.float32)
    return ThompsonState(
      zeros, zeros, jnp.float32(discount), jnp.float32(scale)
    )

  def policy(key: Array, state: ThompsonState) -> Array:
    num_arms = state.count.shape[0]
    noise = jax.random.normal(key, (num_samples, num_arms), jnp.float32)
    precision = state.count + 1
    # The posterior of a prior N(0, σ²).
    mean, root = state.total / precision, jnp.sqrt(precision)
    sampled = mean[None] + state.scale * noise / root[None]
    best = jax.nn.one_hot(sampled.argmax(-1), num_arms, dtype=jnp.float32)
    return best.mean(0)

  def update(state: ThompsonState, outcome: ArmOutcome) -> ThompsonState:
    paid = (outcome.count > 0).astype(jnp.float32)
    return state._replace(
      total=state.discount * state.total + paid * outcome.reward,
      count=state.discount * state.count + paid,
    )

  return Bandit(init, policy, update)
