"""The simple curriculum: the pool once through, easiest first.

Of "Data Sampling Algorithms for Active Learning", without any shuffling: step
t of a pass draws the places t B, ..., t B + B - 1 of `order`, the examples of
a partition in rising difficulty, and begins anew at its end. Over the arms

  "difficulty_in_pool"   the paper's: by difficulty, whatever the classes
  "difficulty"           class-balanced, as by Wu, Dyer and Neyshabur (2021,
                         "When do curricula work?"): by the rank in the class
  "shuffled"             their control, a fixed order by lot

and, descending, the anti-curriculum. Cost: O(B) index arithmetic a step, no
feedback.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.samplers.by_arm import check_arms
from alcurr.types import Arms, Array, Draw, Pool, PyTree, Sampler, learn_nothing


class CurriculumState(NamedTuple):
  num_examples: Array  # [] int32, N
  position: Array  # [] int32 in [0, N), examples drawn of the current pass


def _later(state: CurriculumState, ahead: Array | int) -> Array:
  """The positions `ahead` of now, from the start again after the end."""
  # Unsigned: position + ahead may pass 2^31 in a pool near that size.
  total = state.position.astype(jnp.uint32) + jnp.uint32(ahead)
  return (total % state.num_examples.astype(jnp.uint32)).astype(jnp.int32)


def draw_places(partition: Arms, place: Array) -> Draw:
  """The examples at places [B] int32 of an order, each for certain.

  The policy is the share of the batch that each arm has: there is none that
  it was drawn from.
  """
  index = partition.order[place]
  arm = partition.arm[index]
  ones = jnp.ones(place.shape, jnp.float32)
  count = jax.ops.segment_sum(ones, arm, partition.size.shape[0])
  return Draw(index, arm, ones, ones, policy=count / place.shape[0])


def curriculum(
  *,
  batch_size: int,
  arms: str = "difficulty_in_pool",
  descending: bool = False,
) -> Sampler:
  """The examples of a partition in its order, pass after pass.

  Args:
    batch_size: B, at least 1.
    arms: the name of the partition in `pool.arms` whose order is read.
    descending: from the end of the order to its start, hardest first.

  Returns:
    A sampler whose draws no key changes; its `init` raises ValueError for a
    batch larger than the pool.
  """
  if batch_size < 1:
    raise ValueError(f"batch_size must be at least 1, got {batch_size}")

  def init(key: Array, pool: Pool) -> CurriculumState:
    check_arms(pool, arms)
    num_examples = pool.label.shape[0]
    if batch_size > num_examples:
      raise ValueError(
        f"batch_size {batch_size} is larger than the pool of {num_examples}; "
        "take a smaller batch"
      )
    return CurriculumState(jnp.int32(num_examples), position=jnp.int32(0))

  def sample(key: Array, state: CurriculumState, pool: Pool) -> Draw:
    place = _later(state, jnp.arange(batch_size))
    if descending:
      place = state.num_examples - 1 - place
    return draw_places(pool.arms[arms], place)

  def update(
    state: CurriculumState, draw: Draw, feedback: PyTree
  ) -> CurriculumState:
    return state._replace(position=_later(state, batch_size))

  return Sampler(init, sample, learn_nothing, update, needs=(arms,))
