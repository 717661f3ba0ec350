"""Counters of int32 that never overflow."""

import jax
import jax.numpy as jnp

_LARGEST = 2**31 - 1


def count_up(count: jax.Array, by: jax.Array | int = 1) -> jax.Array:
  """Adds to a counter, which stays at 2^31 - 1 once it is there."""
  return count + jnp.minimum(_LARGEST - count, jnp.asarray(by, jnp.int32))


def count_in_ring(
  count: jax.Array, by: jax.Array | int, size: int
) -> jax.Array:
  """Adds at most `size` to the number of items that a ring has taken.

  It is exact below `size`. Above, only whether the ring is full and its next
  place, `count % size`, are: the counter stays below 2 * `size`.
  """
  total = count + jnp.asarray(by, jnp.int32)
  return jnp.where(total >= 2 * size, total - size, total)
