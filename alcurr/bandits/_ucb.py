"""Upper confidence bounds, for rewards that may change with time.

  n_j = Σ_s γ^(t - s) 1[j paid at s],    n = Σ_j n_j
  x̄_j = Σ_s γ^(t - s) 1[j paid at s] x_j(s) / n_j,    x = (1 + r) / 2
  the arm with the highest x̄_j + sqrt(ξ log(n) / n_j), untried ones first

With γ = 1 and ξ = 2 this is UCB1 (Auer et al. 2002, "Finite-time Analysis of
the Multiarmed Bandit Problem"). γ < 1 gives discounted UCB; sums over the last
W steps alone give sliding-window UCB (Garivier and Moulines 2011, "On
Upper-Confidence Bound Policies for Switching Bandit Problems").
"""

from typing import NamedTuple

import jax.numpy as jnp

from alcurr.bandits._estimates import uniform_over_best
from alcurr.core.arguments import (
  check_at_least,
  check_positive,
  check_positive_fraction,
)
from alcurr.types import ArmOutcome, Array, Bandit


class UCBState(NamedTuple):
  total: Array  # [K] float32, sum of the rewards x
  count: Array  # [K] float32, number of steps that paid the arm
  discount: Array  # [] float32
  exploration: Array  # [] float32
  # [W, K] float32 each, the terms of the last W steps as a ring; W is 0
  # without a window.
  recent_total: Array
  recent_count: Array
  place: Array  # [] int32, of the next step in the ring


def ucb(
  *,
  discount: float = 1.0,
  window: int | None = None,
  exploration: float = 2.0,
) -> Bandit:
  """Draws the arm with the highest upper confidence bound of its reward.

  Ties are drawn from uniformly. Memory: O(K), or O(W K) with a window.

  Args:
    discount: γ in (0, 1].
    window: W, at least 1, the steps that count; None for all. Not together
      with a discount.
    exploration: ξ, in [1e-18, 1e18].
  """
  check_positive(exploration=exploration)
  check_positive_fraction(discount=discount)
  if window is not None:
    check_at_least(1, window=window)
    if discount < 1:
      raise ValueError("give a discount or a window, not both")

  def init(num_arms: int) -> UCBState:
    ring = jnp.zeros((window or 0, num_arms), jnp.float32)
    zeros = jnp.zeros(num_arms, jnp.float32)
    return UCBState(
      total=zeros,
      count=zeros,
      discount=jnp.float32(discount),
      exploration=jnp.float32(exploration),
      recent_total=ring,
      recent_count=ring,
      place=jnp.int32(0),
    )

  def policy(key: Array, state: UCBState) -> Array:
    tried = state.count > 0
    count = jnp.where(tried, state.count, 1)
    log_steps = jnp.log(jnp.maximum(state.count.sum(), 1))
    bound = state.total / count + jnp.sqrt(
      state.exploration * log_steps / count
    )
    return uniform_over_best(jnp.where(tried, bound, jnp.inf))

  def update(state: UCBState, outcome: ArmOutcome) -> UCBState:
    paid = (outcome.count > 0).astype(jnp.float32)
    reward = paid * (1 + outcome.reward) / 2
    if window is None:
      return state._replace(
        total=state.discount * state.total + reward,
        count=state.discount * state.count + paid,
      )
    place = state.place
    recent_total = state.recent_total.at[place].set(reward)
    recent_count = state.recent_count.at[place].set(paid)
    return state._replace(
      total=recent_total.sum(0),
      count=recent_count.sum(0),
      place=(place + 1) % window,
      recent_total=recent_total,
      recent_count=recent_count,
    )

  return Bandit(init, policy, update)
