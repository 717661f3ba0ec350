"""Shuffled passes over a part of the pool that is chosen before each pass.

Shared by the samplers that prune. A batch that is longer than what is left of a
pass draws some examples of the part again, in another order: the next part
depends on losses that are not known yet. Every slot draws each example of the
part with the same probability, over the keys.

Cost: O(B) index arithmetic a step, and O(N) for a new part. State: 4 bytes an
example.
"""

from typing import NamedTuple

import jax.numpy as jnp

from alcurr.samplers import cursor
from alcurr.types import Array


class SubsetPasses(NamedTuple):
  order: Array  # [N] int32, all examples; those of the pass come first
  cursor: cursor.Cursor  # over the first n of them, a single group


def start(key: Array, num_examples: int) -> SubsetPasses:
  """Returns the beginning of a pass over the whole pool."""
  order = jnp.arange(num_examples, dtype=jnp.int32)
  size = jnp.array([num_examples], jnp.int32)
  return SubsetPasses(order, cursor.start(key, size))


def draw_places(passes: SubsetPasses, batch_size: int) -> Array:
  """Returns the next places in `passes.order`: [B] int32 in [0, n)."""
  whole = jnp.zeros(batch_size, jnp.int32)
  ahead = jnp.arange(batch_size, dtype=jnp.int32)
  return cursor.look_ahead(passes.cursor, whole, ahead)


def advance(
  passes: SubsetPasses, batch_size: int
) -> tuple[SubsetPasses, Array]:
  """Moves past a batch; also returns whether the pass is over, [] bool."""
  after = cursor.advance(passes.cursor, jnp.array([batch_size], jnp.int32))
  return (
    passes._replace(cursor=after),
    after.epoch[0] != passes.cursor.epoch[0],
  )


def begin(passes: SubsetPasses, order: Array, size: Array) -> SubsetPasses:
  """Begins a pass over the first `size` [] of `order` [N], in a new shuffle.

  `passes` is as after `advance`. If the size is 0, the pass is over the pool.
  """
  new = passes.cursor._replace(
    size=jnp.where(size > 0, size, order.shape[0])[None],
    # The shuffles so far, one just started among them, do not come again.
    epoch=passes.cursor.epoch + 1,
    position=jnp.zeros_like(passes.cursor.position),
  )
  return SubsetPasses(order, new)


def begin_parts(
  passes: SubsetPasses, *parts: Array
) -> tuple[SubsetPasses, tuple[Array, ...]]:
  """Begins a pass over parts of the pool. O(N).

  Args:
    passes: after `advance`.
    *parts: [N] bool each, no two with a common example. In the new `order` the
      first part comes first, then the second, and so on. If all are empty, the
      pass is over the whole pool.

  Returns:
    The passes, and the sizes of the parts, [] int32 each.
  """
  rest = ~jnp.stack(parts).any(0)
  place, offset, sizes = jnp.zeros(rest.shape, jnp.int32), jnp.int32(0), []
  for part in (*parts, rest):
    within = jnp.cumsum(part, dtype=jnp.int32) - 1
    place = jnp.where(part, offset + within, place)
    sizes.append(part.sum(dtype=jnp.int32))
    offset += sizes[-1]
  size = offset - sizes.pop()
  order = (
    jnp.zeros_like(place)
    .at[place]
    .set(jnp.arange(place.shape[0], dtype=jnp.int32), unique_indices=True)
  )
  return begin(passes, order, size), tuple(sizes)
