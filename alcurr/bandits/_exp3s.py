"""Exp3.S as Graves et al. use it (2017, "Automated Curriculum Learning for
Neural Networks", section 2.1), for a best arm that changes with time.

  p(j)   = (1 - ε) softmax(w)_j + ε / K
  r̃_j    = (r_j 1[j drawn] + β) / p(j)
  w'_j   = log((1 - α_t) exp(w_j + η r̃_j)
               + α_t / (K - 1) Σ_{i≠j} exp(w_i + η r̃_i)),    α_t = 1 / t

α_1 = 1 would give the credit of the first arm to all others, so α_t is at most
(K - 1) / K, where every arm gets the same. The exponentials are taken relative
to the largest weight: alone, they overflow at a weight of 89.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.bandits._estimates import credit_share
from alcurr.core.arguments import check_fraction, check_positive
from alcurr.core.counters import count_up
from alcurr.types import ArmOutcome, Array, Bandit


class Exp3SState(NamedTuple):
  step: Array  # [] int32, updates so far
  log_weight: Array  # [K] float32, of weights that sum to 1
  learning_rate: Array  # [] float32
  exploration: Array  # [] float32
  bonus: Array  # [] float32


def exp3s(
  *,
  learning_rate: float = 1e-3,
  exploration: float = 0.05,
  bonus: float = 0.0,
) -> Bandit:
  """Draws arms by exponential weights that share a little at every update.

  Args:
    learning_rate: η, in [1e-18, 1e18].
    exploration: ε in [0, 1], the share that is drawn uniformly.
    bonus: β, at least 0, which favours arms that are rarely drawn.
  """
  check_positive(learning_rate=learning_rate)
  check_fraction(exploration=exploration)
  if not 0 <= bonus < float("inf"):
    raise ValueError(f"bonus must be at least 0 and finite, got {bonus}")

  def init(num_arms: int) -> Exp3SState:
    return Exp3SState(
      step=jnp.int32(0),
      log_weight=jnp.full(num_arms, -math.log(num_arms), jnp.float32),
      learning_rate=jnp.float32(learning_rate),
      exploration=jnp.float32(exploration),
      bonus=jnp.float32(bonus),
    )

  def policy(key: Array, state: Exp3SState) -> Array:
    uniform = state.exploration / state.log_weight.shape[0]
    weight = jax.nn.softmax(state.log_weight)
    return (1 - state.exploration) * weight + uniform

  def update(state: Exp3SState, outcome: ArmOutcome) -> Exp3SState:
    num_arms = state.log_weight.shape[0]
    share = credit_share(outcome)
    # An arm of probability 0 cannot be drawn and needs no bonus.
    possible = outcome.prob > 0
    reward = (share * outcome.reward + state.bonus) / jnp.where(
      possible, outcome.prob, 1
    )
    credited = state.log_weight + state.learning_rate * jnp.where(
      possible, reward, 0
    )
    step = count_up(state.step)
    mix = jnp.minimum(1 / step.astype(jnp.float32), (num_arms - 1) / num_arms)
    weight = jnp.exp(credited - credited.max())
    others = (weight.sum() - weight) / max(num_arms - 1, 1)
    mixed = (1 - mix) * weight + mix * others
    # With two or more arms `mixed` is positive; the bound is for rounding.
    log_weight = jnp.log(jnp.maximum(mixed, jnp.finfo(jnp.float32).tiny))
    new = state._replace(
      step=step, log_weight=log_weight - jax.nn.logsumexp(log_weight)
    )
    paid = share.sum() > 0
    return jax.tree.map(lambda new, old: jnp.where(paid, new, old), new, state)

  return Bandit(init, policy, update)
