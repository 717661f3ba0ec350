"""A keyed permutation of [0, n), computed instead of stored.

A shuffled pass over N examples needs no array of N indices: position i of the
pass is `permute(key, salt, i, n)`, with O(1) memory and an exact resume at any
N. The permutation is a Feistel network (Luby and Rackoff, 1988) over a grid
just larger than n, with cycle walking (Black and Rogaway, 2002, "Ciphers with
arbitrary finite domains") back into [0, n).
"""

import functools

import jax
import jax.numpy as jnp

from alcurr.types import Array

# A pair of rounds changes both halves once. A large n needs few. Below n = 10
# (grids of 4 x 2), 20,000 keys distinguish fewer than 7 pairs from uniform.
PAIRS = 8


def _mix(x: Array) -> Array:
  """Applies the 32-bit finaliser of MurmurHash3 (Appleby, public domain)."""
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> 16)


# Traced once for each shape, however many programs of a process call it.
@functools.partial(jax.jit, inline=True)
def permute(key: Array, salt: Array, index: Array, n: Array) -> Array:
  """Applies the permutations that `key` and `salt` determine to `index`.

  Arguments broadcast: one call may apply several permutations of different
  sizes.

  Args:
    key: [] PRNG key.
    salt: int32; each value gives another permutation.
    index: int32 in [0, n).
    n: int32 in [1, 2^31).

  Returns:
    int32 in [0, n), of the broadcast shape.
  """
  salt, x, n = (
    a.astype(jnp.uint32)
    for a in jnp.broadcast_arrays(*map(jnp.asarray, (salt, index, n)))
  )
  # The grid: a power of two near sqrt(n) rows, and just enough columns to cover
  # n, so that a walk of more than a step or two is rare.
  bits = 32 - jax.lax.clz(n - 1)
  shift = (bits + 1) // 2
  mask = (jnp.uint32(1) << shift) - 1
  columns = (n + mask) >> shift
  round_keys = jax.random.bits(key, (2 * PAIRS,), jnp.uint32)
  round_keys = [_mix(salt + round_key) for round_key in round_keys]

  def encrypt(x: Array) -> Array:
    row, column = x & mask, x >> shift
    for key_row, key_column in zip(
      round_keys[::2], round_keys[1::2], strict=True
    ):
      row = (row + _mix(column ^ key_row)) & mask
      column = (column + _mix(row ^ key_column) % columns) % columns
    return row | column << shift

  def walk(carry: tuple[Array, Array]) -> tuple[Array, Array]:
    x, home = carry
    x = jnp.where(home, x, encrypt(x))
    return x, x < n

  x, _ = jax.lax.while_loop(
    lambda carry: ~carry[1].all(), walk, (x, jnp.zeros(x.shape, bool))
  )
  return x.astype(jnp.int32)
