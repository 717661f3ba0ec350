"""The simple curriculum: passes over the pool, easiest example first.

From "Data Sampling Algorithms for Active Learning", without any shuffling:
step t of a pass draws the places t B, ..., t B + B - 1 of the `order` of a
partition, easiest first. The partition decides what is easy:

  "difficulty_in_pool"   the paper's: by difficulty, regardless of the class
  "difficulty"           class-balanced, as by Wu, Dyer and Neyshabur (2021,
                         "When do curricula work?"): by the rank in the class
  "shuffled"             their control, a fixed random order

Any score of the pool may take its place, such as the length of a sequence. With
descending=True it is the anti-curriculum.

Cost: O(B) index arithmetic a step, no feedback; a score is sorted in `init`,
and its order is part of the state.
"""

from typing import NamedTuple

import jax.numpy as jnp

from alcurr.core.arguments import check_at_least
from alcurr.samplers._order import make_order
from alcurr.types import Array, Draw, Pool, PyTree, Sampler


class CurriculumState(NamedTuple):
  num_examples: Array  # [] int32, N
  position: Array  # [] int32 in [0, N), examples drawn in the current pass
  order: PyTree  # see `_order`


def _ahead(state: CurriculumState, ahead: Array | int) -> Array:
  """Returns the positions `ahead` of now, wrapping around at the end."""
  # Unsigned: position + ahead may pass 2^31 in a pool near that size.
  total = state.position.astype(jnp.uint32) + jnp.uint32(ahead)
  return (total % state.num_examples.astype(jnp.uint32)).astype(jnp.int32)


def curriculum(
  *,
  batch_size: int,
  partition: str = "difficulty_in_pool",
  score: str | None = None,
  descending: bool = False,
) -> Sampler:
  """Draws the examples of a partition in its order, pass after pass.

  Args:
    batch_size: B, at least 1.
    partition: the name in `pool.partitions` of the order to follow.
    score: the name in `pool.scores` of one to follow instead, ascending; equal
      scores come in a random order.
    descending: from the end of the order to its start, hardest first.

  Returns:
    A deterministic sampler; its `init` raises ValueError for a batch larger
    than the pool.
  """
  check_at_least(1, batch_size=batch_size)
  order = make_order(partition, score)

  def init(key: Array, pool: Pool) -> CurriculumState:
    state = order.start(key, pool)
    num_examples = pool.label.shape[0]
    if batch_size > num_examples:
      text = f"batch_size {batch_size} is larger than the pool, {num_examples}"
      raise ValueError(text)
    return CurriculumState(jnp.int32(num_examples), jnp.int32(0), state)

  def sample(key: Array, state: CurriculumState, pool: Pool) -> Draw:
    place = _ahead(state, jnp.arange(batch_size, dtype=jnp.int32))
    if descending:
      place = state.num_examples - 1 - place
    return order.draw(state.order, pool, place)

  def update(
    state: CurriculumState, draw: Draw, feedback: PyTree
  ) -> CurriculumState:
    return state._replace(position=_ahead(state, batch_size))

  return Sampler(init, sample, update, spec=order.spec)
