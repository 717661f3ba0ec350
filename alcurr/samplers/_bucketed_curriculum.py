"""The bucketed curriculum: more and harder examples, period by period.

From "Data Sampling Algorithms for Active Learning": the examples of a
partition, in rising difficulty, form k buckets; a run has k equal periods; and
period t (from 0) shuffles the buckets 0 to t. Here period t draws from the
first n_t examples of `order`, in shuffled passes over them, with

  n_t = N (b + (1 - b) g(x / a)),    x = t / k, the share of the run so far

at most N, and g a pacing function of Wu, Dyer and Neyshabur (2021, "When do
curricula work?"), see PACINGS. There b is the share to start with and a the
share of the run at which all examples are reached. By default b = 1 / k and
a = (k - 1) / k, with which the linear pacing is the paper's rule
n_t = N (t + 1) / k. Any score of the pool may take the place of the partition.

Cost: O(B + k) index arithmetic a step, no feedback; a score is sorted in
`init`, and its order is part of the state.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.core.arguments import check_at_least, check_choice
from alcurr.core.counters import count_up
from alcurr.samplers import cursor
from alcurr.samplers._order import make_order
from alcurr.types import Array, Draw, Pool, PyTree, Sampler

# g: from x / a to the share of the remaining 1 - b that is included.
PACINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
  "linear": lambda x: x,
  "quad": np.square,
  "root": np.sqrt,
  "step": np.floor,
  "exp": lambda x: np.expm1(10 * x) / np.expm1(10),
  "log": lambda x: 1 + 0.1 * np.log(x + np.exp(-10)),
}


class BucketedCurriculumState(NamedTuple):
  step: Array  # [] int32, updates so far
  begin: Array  # [k] int32, the first step of each period
  # A group for each period: the first n_t examples, with its own passes.
  passes: cursor.Cursor
  order: PyTree  # see `_order`


def bucket_sizes(
  num_examples: int, num_buckets: int, pacing: str, start: float, full_at: float
) -> np.ndarray:
  """Returns how many examples each period draws from.

  They are [k] int32, n_t rounded up, in [1, N] and rising. For the arguments
  see `bucketed_curriculum`.
  """
  progress = np.arange(num_buckets) / num_buckets / full_at
  # Clipped before it is scaled, as exp may be large beyond 1.
  share = start + (1 - start) * PACINGS[pacing](np.minimum(progress, 1.0))
  # Rounded up, so that the paper's rule agrees with quantile arms; the factor
  # absorbs the rounding error of float64 at a whole number.
  size = np.ceil(num_examples * share * (1 - 1e-12))
  return size.clip(1, num_examples).astype(np.int32)


def bucketed_curriculum(
  *,
  batch_size: int,
  num_steps: int,
  num_buckets: int = 3,
  partition: str = "difficulty_in_pool",
  score: str | None = None,
  pacing: str = "linear",
  start: float | None = None,
  full_at: float | None = None,
) -> Sampler:
  """Draws by shuffled passes over a growing part of a partition's order.

  Args:
    batch_size: B, at least 1.
    num_steps: of the run; period t begins at step floor(t num_steps / k).
      With fewer steps than periods some are skipped, never the last.
    num_buckets: k, the periods; 1 is uniform sampling.
    partition: a name in `pool.partitions`: "difficulty_in_pool" for the
      paper's buckets, "difficulty" for class-balanced ones.
    score: a name in `pool.scores` to order by instead, ascending; equal scores
      stand in a random order.
    pacing: one of PACINGS.
    start: b, the share of the pool in the first period, in (0, 1]; by default
      1 / k.
    full_at: a, the share of the run at which the whole pool is included, in
      (0, 1]; by default (k - 1) / k, the beginning of the last period.

  Returns:
    A sampler whose `init` raises ValueError for a first bucket smaller than
    the batch.
  """
  check_at_least(
    1, batch_size=batch_size, num_steps=num_steps, num_buckets=num_buckets
  )
  check_choice(PACINGS, pacing=pacing)
  order = make_order(partition, score)
  if start is None:
    start = 1 / num_buckets
  if full_at is None:
    # A single period has no period before it.
    full_at = max(num_buckets - 1, 1) / num_buckets
  for name, share in (("start", start), ("full_at", full_at)):
    if not 0 < share <= 1:
      raise ValueError(f"{name} must be in (0, 1], got {share}")

  def init(key: Array, pool: Pool) -> BucketedCurriculumState:
    state = order.start(jax.random.fold_in(key, 1), pool)
    num_examples = pool.label.shape[0]
    size = bucket_sizes(num_examples, num_buckets, pacing, start, full_at)
    if size[0] < batch_size:
      raise ValueError(
        f"the first bucket has {size[0]} of {num_examples} examples, too few "
        f"for a batch of {batch_size}; take fewer buckets, a larger start, or "
        "a smaller batch"
      )
    begin = [t * num_steps // num_buckets for t in range(num_buckets)]
    return BucketedCurriculumState(
      step=jnp.int32(0),
      begin=jnp.array(begin, jnp.int32),
      passes=cursor.start(key, jnp.asarray(size)),
      order=state,
    )

  def period(state: BucketedCurriculumState) -> Array:
    return (state.begin <= state.step).sum(dtype=jnp.int32) - 1

  def sample(key: Array, state: BucketedCurriculumState, pool: Pool) -> Draw:
    group = jnp.full(batch_size, period(state), jnp.int32)
    place = cursor.look_ahead(
      state.passes, group, jnp.arange(batch_size, dtype=jnp.int32)
    )
    return order.draw(state.order, pool, place)

  def update(
    state: BucketedCurriculumState, draw: Draw, feedback: PyTree
  ) -> BucketedCurriculumState:
    drawn = jnp.zeros_like(state.begin).at[period(state)].set(batch_size)
    return state._replace(
      step=count_up(state.step), passes=cursor.advance(state.passes, drawn)
    )

  return Sampler(init, sample, update, spec=order.spec)
