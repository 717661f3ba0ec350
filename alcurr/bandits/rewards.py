"""Transforms of raw gains into rewards in [-1, 1].

Gains shrink by orders of magnitude as a model learns; their ranks among the
earlier gains do not, nor do their quantiles or their distance from the mean in
standard deviations.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_at_least, check_fraction, check_positive
from alcurr.core.counters import count_in_ring, count_up
from alcurr.core.registry import Registry
from alcurr.types import Array, Reward

_MOST = 2**31 - 2  # whose successor is an int32


class RankState(NamedTuple):
  history: Array  # [window] float32, a ring of the last gains
  count: Array  # [] int32, gains seen, see `count_in_ring`


def rank(*, window: int | None = None, num_steps: int | None = None) -> Reward:
  """Rewards a gain by its rank among the gains so far, itself included.

  The reward of the gain with rank r of t (1 the smallest, ties share their
  mean rank) is (2 r - t) / t, in (-1, 1] ("Data Sampling Algorithms for
  Active Learning", the update of its active bandit). Over the whole history,
  gains that shrink with time stay among the smallest forever; a window
  forgets. Cost: `window` comparisons for each gain of a step.

  Args:
    window: number of gains remembered; None for all, as in the paper.
    num_steps: steps of the run, which bounds the whole history.
  """
  check_at_least(2, window=window)
  if window is None and num_steps is None:
    raise ValueError("rank needs a window, or num_steps of the run")

  def init(key: Array, most_paid: int) -> RankState:
    if window is not None and window < most_paid:
      text = f"window {window} is smaller than the {most_paid} gains of a step"
      raise ValueError(text)
    size = window if window is not None else num_steps * most_paid
    return RankState(jnp.zeros(size, jnp.float32), jnp.int32(0))

  def apply(
    state: RankState, gain: Array, valid: Array
  ) -> tuple[Array, RankState]:
    size = state.history.shape[0]
    # The gains of a step enter the history together: the j-th valid one takes
    # the j-th free place, the others none (`size` is out of range).
    place = state.count + jnp.cumsum(valid, dtype=jnp.int32) - 1
    place = jnp.where(valid, place % size, size)
    history = state.history.at[place].set(gain, mode="drop")
    num_valid = valid.sum(dtype=jnp.int32)
    count = count_in_ring(state.count, num_valid, size)
    known = (jnp.arange(size, dtype=jnp.int32) < count)[None]
    below = ((history[None] < gain[:, None]) & known).sum(1, dtype=jnp.float32)
    equal = ((history[None] == gain[:, None]) & known).sum(1, dtype=jnp.float32)
    position = below + (equal + 1) / 2  # [m], the mean rank of the ties
    total = jnp.clip(count, 1, size).astype(jnp.float32)
    reward = jnp.where(valid, (2 * position - total) / total, 0)
    return reward, RankState(history, count)

  return Reward(init, apply)


class QuantileState(NamedTuple):
  key: Array  # [] PRNG key
  reservoir: Array  # [R] float32
  count: Array  # [] int32, gains ever seen, at most 2^31 - 2
  low: Array  # [] float32
  high: Array  # [] float32


def quantile(
  *, low: float = 0.2, high: float = 0.8, reservoir: int = 1000
) -> Reward:
  """Rewards a gain by its place between two quantiles of the gains so far.

  The reward of a gain g is 2 (g - q_low) / (q_high - q_low) - 1, clipped to
  [-1, 1]; where the quantiles are equal, the sign of g - q_low (Graves et al.
  2017, "Automated Curriculum Learning for Neural Networks", equation 8). The
  quantiles are those of a uniform sample of all gains, itself included, drawn
  by Vitter's algorithm R. Cost: a sort of the reservoir at each step.

  Args:
    low: the lower quantile, in [0, 1].
    high: the upper one, above `low`.
    reservoir: R, at least 2, the size of the sample.
  """
  check_fraction(low=low, high=high)
  check_at_least(2, reservoir=reservoir)
  if low >= high:
    raise ValueError(f"low must be below high, got {low} and {high}")

  def init(key: Array, most_paid: int) -> QuantileState:
    return QuantileState(
      key=jnp.copy(key),
      reservoir=jnp.zeros(reservoir, jnp.float32),
      count=jnp.int32(0),
      low=jnp.float32(low),
      high=jnp.float32(high),
    )

  def insert(state: QuantileState, item: tuple) -> tuple[QuantileState, tuple]:
    gain, valid = item
    key = jax.random.fold_in(state.key, state.count)
    chosen = jax.random.randint(key, (), 0, state.count + 1, jnp.int32)
    place = jnp.where(state.count < reservoir, state.count, chosen)
    place = jnp.where(valid, place, reservoir)  # out of range: dropped
    return state._replace(
      reservoir=state.reservoir.at[place].set(gain, mode="drop"),
      count=jnp.minimum(count_up(state.count, valid), _MOST),
    ), ()

  def apply(
    state: QuantileState, gain: Array, valid: Array
  ) -> tuple[Array, QuantileState]:
    state, _ = jax.lax.scan(insert, state, (gain, valid))
    size = jnp.minimum(state.count, reservoir)
    known = jnp.arange(reservoir, dtype=jnp.int32) < size
    ordered = jnp.sort(jnp.where(known, state.reservoir, jnp.inf))
    bounds = _interpolate(ordered, size, jnp.stack([state.low, state.high]))
    # Half of each: the distance of finite numbers may be infinite.
    width = bounds[1] / 2 - bounds[0] / 2
    offset = gain / 2 - bounds[0] / 2
    scaled = 2 * (offset / jnp.where(width > 0, width, 1)) - 1
    reward = jnp.where(width > 0, scaled, jnp.sign(offset))
    return jnp.where(valid, jnp.clip(reward, -1, 1), 0), state

  return Reward(init, apply)


def _interpolate(ordered: Array, size: Array, fraction: Array) -> Array:
  """Returns the quantiles of the first `size` of sorted numbers."""
  position = fraction * jnp.maximum(size - 1, 0).astype(jnp.float32)
  below = jnp.floor(position).astype(jnp.int32)
  above = jnp.minimum(below + 1, jnp.maximum(size - 1, 0))
  share = position - below.astype(jnp.float32)
  return (1 - share) * ordered[below] + share * ordered[above]


def _bounded(gain: Array) -> Array:
  """Returns gains whose squares, and sums of them, are finite."""
  return jnp.clip(gain, -1e15, 1e15)


class ZScoreState(NamedTuple):
  # Discounted sums, all gains of a step counting alike: [] float32 each.
  weight: Array
  mean: Array
  variance: Array
  decay: Array
  limit: Array


def z_score(*, decay: float = 0.99, limit: float = 2.0) -> Reward:
  """Rewards a gain by its distance from the mean in standard deviations.

  The reward is (g - mean) / (limit * deviation), clipped to [-1, 1]. Mean and
  deviation are of the gains so far, those of the step included, discounted at
  each step.

  Args:
    decay: of the past, in [0, 1].
    limit: the distance with a reward of 1, in [1e-18, 1e18].
  """
  check_fraction(decay=decay)
  check_positive(limit=limit)

  def init(key: Array, most_paid: int) -> ZScoreState:
    zero = jnp.float32(0)
    return ZScoreState(zero, zero, zero, jnp.float32(decay), jnp.float32(limit))

  def apply(
    state: ZScoreState, gain: Array, valid: Array
  ) -> tuple[Array, ZScoreState]:
    old, new = state.decay * state.weight, valid.sum(dtype=jnp.float32)
    weight = old + new
    total = jnp.maximum(weight, 1)
    # Differences from the old mean: sums of squares would cancel.
    offset = jnp.where(valid, _bounded(gain) - state.mean, 0)
    shift = offset.sum() / total
    mean = state.mean + shift
    squares = (offset**2).sum() / total
    variance = old / total * state.variance + squares - shift**2
    variance = jnp.maximum(variance, 0)
    deviation = jnp.sqrt(variance)
    reward = (_bounded(gain) - mean) / jnp.where(
      deviation > 0, state.limit * deviation, 1
    )
    reward = jnp.where(valid & (deviation > 0), jnp.clip(reward, -1, 1), 0)
    kept = jnp.where(new > 0, weight, state.weight)
    return reward, state._replace(
      weight=kept,
      mean=mean,
      variance=jnp.where(new > 0, variance, state.variance),
    )

  return Reward(init, apply)


class ClipState(NamedTuple):
  scale: Array  # [] float32


def clip(*, scale: float = 1.0) -> Reward:
  """Rewards a gain by its size: clip(g / scale, -1, 1).

  Args:
    scale: the gain with a reward of 1, in [1e-18, 1e18].
  """
  check_positive(scale=scale)

  def init(key: Array, most_paid: int) -> ClipState:
    return ClipState(jnp.float32(scale))

  def apply(
    state: ClipState, gain: Array, valid: Array
  ) -> tuple[Array, ClipState]:
    return jnp.where(valid, jnp.clip(gain / state.scale, -1, 1), 0), state

  return Reward(init, apply)


REWARDS = Registry(
  "rewards",
  {"clip": clip, "quantile": quantile, "rank": rank, "z_score": z_score},
  record=Reward,
)
