"""Drawing without replacement from K groups: a cursor each, no index arrays.

Every group is passed over in a fresh shuffled order again and again. All that
is stored is how far each pass has come.
"""

from typing import NamedTuple

import jax.numpy as jnp

from alcurr.samplers import bijection
from alcurr.types import Array


class Cursor(NamedTuple):
  key: Array  # [] PRNG key, which names the orders of all passes
  size: Array  # [K] int32, examples in each group
  epoch: Array  # [K] int32, passes finished
  position: Array  # [K] int32, examples drawn of the current pass


def start(key: Array, size: Array) -> Cursor:
  """Before the first draw from groups of `size` [K]."""
  zeros = jnp.zeros(size.shape, jnp.int32)
  # A copy: the state is donated to the step, and `size` is the pool's.
  return Cursor(key, jnp.array(size, jnp.int32), zeros, zeros)


def _later(
  cursor: Cursor, group: Array, ahead: Array
) -> tuple[Array, Array, Array]:
  """Each group's size, and the pass and the place in it, `ahead` from now."""
  size = cursor.size[group]
  # Unsigned: position + ahead may pass 2^31 in a pool near that size.
  total = cursor.position[group].astype(jnp.uint32) + ahead.astype(jnp.uint32)
  passes, position = jnp.divmod(total, size.astype(jnp.uint32))
  epoch = cursor.epoch[group] + passes.astype(jnp.int32)
  return size, epoch, position.astype(jnp.int32)


def look_ahead(cursor: Cursor, group: Array, ahead: Array) -> Array:
  """The ranks, in their groups, of examples still to come.

  Args:
    cursor: of K groups.
    group: [B] int32, which group each slot draws from.
    ahead: [B] int32, how many examples of the group come before it.

  Returns:
    [B] int32 in [0, size of the group).
  """
  size, epoch, position = _later(cursor, group, ahead)
  # One salt for each (pass, group); it may wrap around, harmlessly.
  salt = epoch * cursor.size.shape[0] + group
  return bijection.permute(cursor.key, salt, position, size)


def advance(cursor: Cursor, count: Array) -> Cursor:
  """Moves each group's cursor on by `count` [K] int32."""
  _, epoch, position = _later(cursor, jnp.arange(count.shape[0]), count)
  return cursor._replace(epoch=epoch, position=position)
