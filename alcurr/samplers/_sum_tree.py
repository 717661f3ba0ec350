"""A sum tree: draws in proportion to N weights that change, in O(B log N).

The leaves are the weights, and every other node is the sum of its 16 children.
A draw descends from the root and picks a child in proportion to its sum. Each
level has a random number of its own: with one for all levels, its 24 bits would
not tell apart more than 2^24 leaves. Within a node, a share of less than 2^-24
is beyond the resolution of such a number.

Parents are summed from their children again, never changed by a difference, so
that rounding errors do not add up. A leaf of weight 0 is never drawn. If all
weights are 0, all leaves are drawn alike.

Trees with a large fan-out are flat: 7 levels of 5 x 10^7 leaves, whose siblings
lie in one cache line, and N / 15 sums besides the weights.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.types import Array

FAN_OUT = 16
# The sum of 2^31 weights is a finite float32.
LARGEST_WEIGHT = 1e29
NOWHERE = 2**31 - 1  # an index beyond all examples


class SumTree(NamedTuple):
  # Each [a multiple of FAN_OUT] float32, padded by zeros: the weights, the sums
  # of each FAN_OUT of them, and so on; the last has FAN_OUT numbers.
  levels: tuple[Array, ...]


def _valid(weight: Array) -> Array:
  """Returns weights in [0, LARGEST_WEIGHT], 0 for NaN."""
  weight = jnp.where(jnp.isnan(weight), 0, weight).astype(jnp.float32)
  return jnp.clip(weight, 0, LARGEST_WEIGHT)


def build(weight: Array) -> SumTree:
  """Returns the tree of weights [N], finite and not negative. O(N)."""
  level, levels = _valid(weight), []
  while True:
    level = jnp.pad(level, (0, -level.shape[0] % FAN_OUT))
    levels.append(level)
    if level.shape[0] == FAN_OUT:
      return SumTree(tuple(levels))
    level = level.reshape(-1, FAN_OUT).sum(1)


def total(tree: SumTree) -> Array:
  """Returns the sum of all weights: [] float32."""
  return tree.levels[-1].sum()


def get(tree: SumTree, index: Array) -> Array:
  """Returns the weights of leaves: [B] float32."""
  return tree.levels[0][index]


def last_writes(index: Array, valid: Array) -> Array:
  """Returns where each slot is to write, so that no two write the same place.

  Args:
    index: [B] int32, repeated or not.
    valid: [B] bool, whether the slot has something to write.

  Returns:
    [B] int32: the slot's index if it is valid and the last valid one of that
    index, else NOWHERE, which a scatter with mode="drop" ignores.
  """
  index = jnp.where(valid, index, NOWHERE)
  order = jnp.argsort(index, stable=True)
  ordered = index[order]
  last = jnp.append(ordered[1:] != ordered[:-1], True)
  return jnp.zeros_like(index).at[order].set(jnp.where(last, ordered, NOWHERE))


def _children(level: Array, node: Array) -> Array:
  """Returns the children of nodes [B] of the level above: [B, FAN_OUT]."""

  def slice_of(node: Array) -> Array:
    return jax.lax.dynamic_slice(level, (node * FAN_OUT,), (FAN_OUT,))

  return jax.vmap(slice_of)(node)


def put(tree: SumTree, index: Array, weight: Array) -> SumTree:
  """Sets the weights of leaves [B], and the sums above them.

  Args:
    tree: over N leaves.
    index: [B] int32; of a repeated index the last weight counts. NOWHERE
      is ignored.
    weight: [B] float32; NaN and negative numbers become 0, and numbers above
      LARGEST_WEIGHT become that.
  """
  size = tree.levels[0].shape[0]
  node = last_writes(index, (index >= 0) & (index < size))
  writes, value, levels = node < size, _valid(weight), []
  for i, level in enumerate(tree.levels):
    levels.append(level.at[node].set(value, mode="drop"))
    if i + 1 < len(tree.levels):
      node = node // FAN_OUT
      # Slots with the same parent write the same sum.
      value = _children(levels[-1], node).sum(1)
      node = jnp.where(writes, node, tree.levels[i + 1].shape[0])
  return SumTree(tuple(levels))


def _pick(uniform: Array, weight: Array) -> Array:
  """Picks one of the weights [B, F] in each row; uniform is [B] in [0, 1)."""
  summed = jnp.cumsum(weight, axis=1)
  positive = weight > 0
  # Whatever the rounding of the sums, only a positive weight is picked.
  hit = positive & (summed > (uniform * summed[:, -1])[:, None])
  first = jnp.argmax(hit, axis=1)
  last = FAN_OUT - 1 - jnp.argmax(positive[:, ::-1], axis=1)
  return jnp.where(hit.any(1), first, last).astype(jnp.int32)


def draw(
  key: Array, tree: SumTree, num_leaves: int, size: int
) -> tuple[Array, Array]:
  """Draws leaves in proportion to their weights, with replacement.

  Args:
    key: [] PRNG key.
    tree: over N leaves.
    num_leaves: N.
    size: B.

  Returns:
    index [B] int32 in [0, N), and the probability [B] float32 of each.
  """
  key_levels, key_uniform = jax.random.split(key)
  uniform = jax.random.uniform(
    key_levels, (len(tree.levels), size), jnp.float32
  )
  node = jnp.zeros(size, jnp.int32)
  for i, level in enumerate(reversed(tree.levels)):
    node = node * FAN_OUT + _pick(uniform[i], _children(level, node))
  weight, whole = get(tree, node), total(tree)
  some = whole > 0
  prob = weight / jnp.where(some, whole, 1)
  any_leaf = jax.random.randint(key_uniform, (size,), 0, num_leaves, jnp.int32)
  return jnp.where(some, node, any_leaf), jnp.where(some, prob, 1 / num_leaves)
