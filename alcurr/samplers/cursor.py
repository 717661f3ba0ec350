"""Draws without replacement from K groups: one cursor each, no index arrays.

Shuffled passes over each group follow one another, every pass in a new order.
The state holds only the position within the pass.
"""

from typing import NamedTuple

import jax.numpy as jnp

from alcurr.samplers import bijection
from alcurr.types import Array


class Cursor(NamedTuple):
  key: Array  # [] PRNG key, which determines the orders of all passes
  size: Array  # [K] int32, examples in each group
  epoch: Array  # [K] int32, passes finished
  position: Array  # [K] int32, examples drawn in the current pass


def start(key: Array, size: Array) -> Cursor:
  """Returns the cursor before the first draw from groups of `size` [K]."""
  zeros = jnp.zeros(size.shape, jnp.int32)
  # A copy: the state is donated to the step, and `size` is the pool's.
  return Cursor(key, jnp.array(size, jnp.int32), zeros, zeros)


def _ahead(
  cursor: Cursor, group: Array, ahead: Array
) -> tuple[Array, Array, Array]:
  """Returns each group's size, and the pass and position `ahead` from now."""
  size = cursor.size[group]
  # Unsigned: position + ahead may pass 2^31 in a pool near that size.
  total = cursor.position[group].astype(jnp.uint32) + ahead.astype(jnp.uint32)
  passes, position = jnp.divmod(total, size.astype(jnp.uint32))
  epoch = cursor.epoch[group] + passes.astype(jnp.int32)
  return size, epoch, position.astype(jnp.int32)


def look_ahead(cursor: Cursor, group: Array, ahead: Array) -> Array:
  """Returns the ranks, within their groups, of examples still to come.

  Args:
    cursor: over K groups.
    group: [B] int32, the group that each slot draws from.
    ahead: [B] int32, how many examples of the group come before it.

  Returns:
    [B] int32 in [0, size of the group).
  """
  size, epoch, position = _ahead(cursor, group, ahead)
  # One salt for each (pass, group); wrapping around is harmless.
  salt = epoch * cursor.size.shape[0] + group
  return bijection.permute(cursor.key, salt, position, size)


def advance(cursor: Cursor, count: Array) -> Cursor:
  """Moves each group's cursor forward by `count` [K] int32."""
  _, epoch, position = _ahead(
    cursor, jnp.arange(count.shape[0], dtype=jnp.int32), count
  )
  return cursor._replace(epoch=epoch, position=position)
