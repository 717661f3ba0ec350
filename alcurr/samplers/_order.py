"""An order of the pool, easiest first: a partition's, or by a score.

Shared by the curricula. A partition brings its order with the pool; the order
by a score is sorted once, in `init`, and is part of the state.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.samplers._arm_draw import check_partition
from alcurr.types import Array, Draw, Partition, Pool, PyTree, SamplerSpec


class Order(NamedTuple):
  """The functions of `make_order`, and what a sampler's spec says of it."""

  start: Callable[[Array, Pool], PyTree]  # (key, pool) -> state, [N] or ()
  # (state, pool, place [B] int32) -> the draw of the examples at these places
  draw: Callable[[PyTree, Pool, Array], Draw]
  spec: SamplerSpec


def order_by_score(key: Array, pool: Pool, name: str) -> Array:
  """Returns the examples [N] int32 by a score of the pool, ascending.

  Equal scores stand in a random order, which the key determines. A score that
  is not a number stands last.

  Raises:
    ValueError: the pool lacks the score.
  """
  if name not in pool.scores:
    text = f"the pool has the scores {sorted(pool.scores)}, not {name!r}"
    raise ValueError(text)
  score = jnp.asarray(pool.scores[name])
  tie = jax.random.bits(key, score.shape, jnp.uint32)
  return jnp.lexsort((tie, score)).astype(jnp.int32)


def draw_places(partition: Partition, place: Array) -> Draw:
  """Draws the examples at places [B] int32 of an order with certainty.

  The policy of the draw is each arm's share of the batch.
  """
  index = partition.order[place]
  arm = partition.arm[index]
  ones = jnp.ones(place.shape, jnp.float32)
  count = jax.ops.segment_sum(ones, arm, partition.size.shape[0])
  return Draw(index, ones, ones, arm, policy=count / place.shape[0])


def make_order(partition: str, score: str | None) -> Order:
  """Returns the order of a partition or, if it is not None, by a score."""
  if score is not None:

    def draw(order: Array, pool: Pool, place: Array) -> Draw:
      ones = jnp.ones(place.shape, jnp.float32)
      return Draw(order[place], ones, ones)

    return Order(
      lambda key, pool: order_by_score(key, pool, score),
      draw,
      SamplerSpec(scores=(score,), per_example_state=True),
    )

  def start(key: Array, pool: Pool) -> tuple[()]:
    check_partition(pool, partition)
    return ()

  return Order(
    start,
    lambda state, pool, place: draw_places(pool.partitions[partition], place),
    SamplerSpec(partitions=(partition,), arm_partition=partition),
  )
