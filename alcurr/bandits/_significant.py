"""A bandit that learns only from differences that noise does not explain.

A bandit that is paid noise moves anyway: its policy is a random walk, which
costs the run accuracy. Here another bandit gets only the significant part of an
arm's reward. With m_k, s_k² the mean and variance of the n_k rewards of arm
k, and m the mean of the m_j:

  d_k = m_k - m        v_k = Var(d_k), from the s_j² / n_j
  r_k = sqrt(v_k (1 + ρ / n_k) ln((n_k + ρ) K² / (ρ α²)))
  a_k = sign(d_k) max(|d_k| - r_k, 0)                   the reward passed on

The radius r_k is that of an asymptotic confidence sequence (Waudby-Smith et al.
2021, "Time-uniform central limit theory and asymptotic confidence sequences",
theorem 2.2): it holds at all steps together, so looking at every step does not
raise the chance of an error. With arms that do not differ, all a_k stay 0 in a
share of 1 - α of the runs, for K arms by Bonferroni, and the policy does not
move at all. Of ten arms, one that differs by d is noticed after some 15 s² / d²
rewards.

Ours, not a paper's: the use as a bandit. s_k² counts one more square of 1, the
largest reward, so that few rewards prove nothing. Rewards that drift over time
alike for all arms are not told from a difference where the arms are drawn at
different times; draw an arm for each example then. Cost: O(K).
"""

from typing import NamedTuple

import jax.numpy as jnp

from alcurr.bandits._softmax import softmax
from alcurr.core.arguments import check_positive_fraction, check_record
from alcurr.types import ArmOutcome, Array, Bandit, PyTree

_RHO = 50.0  # the count at which the radius is about the narrowest
_SOFTMAX = softmax()


class SignificantState(NamedTuple):
  # Discounted sums over the steps that paid an arm: [K] float32 each.
  count: Array
  mean: Array
  squares: Array  # of the deviations from the mean
  log_inverse: Array  # [] float32, -2 ln α
  discount: Array  # [] float32
  bandit: PyTree


def advantages(state: SignificantState) -> Array:
  """Returns a_k, the part of each arm's difference beyond doubt: [K]."""
  num_arms = jnp.float32(state.count.shape[0])
  known = state.count > 0
  count = jnp.where(known, state.count, 1)
  variance = jnp.where(known, (state.squares + 1) / count / count, 0)
  num_known = jnp.maximum(known.sum(dtype=jnp.float32), 1)
  centre = jnp.where(known, state.mean, 0).sum() / num_known
  difference = jnp.where(known, state.mean - centre, 0)
  # Arm k is in the mean of the arms too.
  own = 1 - 2 / num_known
  spread = variance * own + variance.sum() / num_known**2
  spread = jnp.maximum(spread, 0)
  width = jnp.log((count + _RHO) / _RHO) + 2 * jnp.log(num_arms)
  width = (1 + _RHO / count) * (width + state.log_inverse)
  beyond = jnp.maximum(jnp.abs(difference) - jnp.sqrt(spread * width), 0)
  return jnp.sign(difference) * beyond


def significant(
  bandit: Bandit = _SOFTMAX,
  *,
  confidence: float = 0.95,
  discount: float = 1.0,
) -> Bandit:
  """Passes on to a bandit only the rewards' significant differences.

  Args:
    bandit: the policy, which is paid a_k for the arms drawn, in [-1, 1].
    confidence: 1 - α, in (0, 1): the share of runs on arms alike in which the
      policy never moves.
    discount: of the past at each step, in (0, 1]. Below 1, differences may
      change, and the confidence holds for about 1 / (1 - discount) steps.
  """
  check_record(Bandit, bandit=bandit)
  if not 0 < confidence < 1:
    raise ValueError(f"confidence must be in (0, 1), got {confidence}")
  check_positive_fraction(discount=discount)

  def init(num_arms: int) -> SignificantState:
    zeros = jnp.zeros(num_arms, jnp.float32)
    log_inverse = -2 * jnp.log1p(jnp.float32(-confidence))
    return SignificantState(
      count=zeros,
      mean=jnp.copy(zeros),
      squares=jnp.copy(zeros),
      log_inverse=log_inverse,
      discount=jnp.float32(discount),
      bandit=bandit.init(num_arms),
    )

  def policy(key: Array, state: SignificantState) -> Array:
    return bandit.policy(key, state.bandit)

  def update(state: SignificantState, outcome: ArmOutcome) -> SignificantState:
    paid = outcome.count > 0
    old = state.discount * state.count
    count = old + paid.astype(jnp.float32)
    offset = jnp.where(paid, outcome.reward - state.mean, 0)
    shift = offset / jnp.maximum(count, 1)
    squares = state.discount * state.squares + offset * (offset - shift)
    state = state._replace(
      count=count, mean=state.mean + shift, squares=squares
    )
    told = jnp.where(paid, advantages(state), 0)
    told = outcome._replace(reward=jnp.clip(told, -1, 1))
    return state._replace(bandit=bandit.update(state.bandit, told))

  return Bandit(init, policy, update)
