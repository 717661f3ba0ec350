"""The simple curriculum: passes over the pool, easiest example first.

From "Data Sampling Algorithms for Active Learning", without any shuffling:
step t of a pass draws the places t B, ..., t B + B - 1 of the `order` of a
partition, easiest first. The partition decides what is easy:

  "difficulty_in_pool"   the paper's: by difficulty, regardless of the class
  "difficulty"           class-balanced, as by Wu, Dyer and Neyshabur (2021,
                         "When do curricula work?"): by the rank in the class
  "shuffled"             their control, a fixed random order

With descending=True it is the anti-curriculum. Cost: O(B) index arithmetic a
step, no feedback.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_at_least
from alcurr.samplers._arm_draw import check_partition
from alcurr.types import (
  Array,
  Draw,
  Partition,
  Pool,
  PyTree,
  Sampler,
  SamplerSpec,
)


class CurriculumState(NamedTuple):
  num_examples: Array  # [] int32, N
  position: Array  # [] int32 in [0, N), examples drawn in the current pass


def _ahead(state: CurriculumState, ahead: Array | int) -> Array:
  """Returns the positions `ahead` of now, wrapping around at the end."""
  # Unsigned: position + ahead may pass 2^31 in a pool near that size.
  total = state.position.astype(jnp.uint32) + jnp.uint32(ahead)
  return (total % state.num_examples.astype(jnp.uint32)).astype(jnp.int32)


def draw_places(partition: Partition, place: Array) -> Draw:
  """Draws the examples at places [B] int32 of an order with certainty.

  The policy of the draw is each arm's share of the batch.
  """
  index = partition.order[place]
  arm = partition.arm[index]
  ones = jnp.ones(place.shape, jnp.float32)
  count = jax.ops.segment_sum(ones, arm, partition.size.shape[0])
  return Draw(index, ones, ones, arm, policy=count / place.shape[0])


def curriculum(
  *,
  batch_size: int,
  partition: str = "difficulty_in_pool",
  descending: bool = False,
) -> Sampler:
  """Draws the examples of a partition in its order, pass after pass.

  Args:
    batch_size: B, at least 1.
    partition: the name in `pool.partitions` of the order to follow.
    descending: from the end of the order to its start, hardest first.

  Returns:
    A deterministic sampler; its `init` raises ValueError for a batch larger
    than the pool.
  """
  check_at_least(1, batch_size=batch_size)

  def init(key: Array, pool: Pool) -> CurriculumState:
    check_partition(pool, partition)
    num_examples = pool.label.shape[0]
    if batch_size > num_examples:
      text = f"batch_size {batch_size} is larger than the pool, {num_examples}"
      raise ValueError(text)
    return CurriculumState(jnp.int32(num_examples), position=jnp.int32(0))

  def sample(key: Array, state: CurriculumState, pool: Pool) -> Draw:
    place = _ahead(state, jnp.arange(batch_size, dtype=jnp.int32))
    if descending:
      place = state.num_examples - 1 - place
    return draw_places(pool.partitions[partition], place)

  def update(
    state: CurriculumState, draw: Draw, feedback: PyTree
  ) -> CurriculumState:
    return state._replace(position=_ahead(state, batch_size))

  spec = SamplerSpec(partitions=(partition,), arm_partition=partition)
  return Sampler(init, sample, update, spec=spec)
