"""Pools larger than the device: examples stay in host memory until drawn.

Samplers choose on the device as always, from labels, scores and partitions.
The examples they draw are fetched from a store on the host, in memory or
memory-mapped: inside the step, or before it (`alcurr.training.prefetch`).
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.data import strokes
from alcurr.types import Array, Fetched, Images, Rows, Strokes

Examples = Images | Rows | Strokes

# (row [B] int32 of the store) -> those B examples, in that order
Fetch = Callable[[Array], Examples]


class Lookup(NamedTuple):
  """Functions that find the examples of a store, and their shapes."""

  # (count) -> shapes that hold any `count` examples
  room: Callable[[int], Examples]
  # (row [b], count) -> those examples, padded to `room(count)`
  find: Callable[[np.ndarray, int], Examples]


# A number of each store, written into the programs that fetch from it, so that
# programs for two stores differ.
_numbers = itertools.count()


def make_fetch(lookup: Lookup) -> Fetch:
  """Returns a function that fetches examples under `jax.jit`.

  Of several devices, each fetches its own, see `parallel.split_gather`.
  """
  number = np.uint32(next(_numbers))

  def on_host(number: Array, row: Array) -> Examples:
    row = np.asarray(row)  # [B], under vmap [S, B]
    *trials, count = row.shape
    examples = [lookup.find(rows, count) for rows in row.reshape(-1, count)]
    return jax.tree.map(
      lambda *x: np.reshape(x, (*trials, *x[0].shape)), *examples
    )

  def fetch(row: Array) -> Examples:
    shapes = lookup.room(row.shape[0])
    vmap = "expand_dims"
    return jax.pure_callback(on_host, shapes, number, row, vmap_method=vmap)

  return fetch


def place_in(fetched: Fetched, index: Array) -> Array:
  """Returns the places [B] int32 of the examples `index` [B] among M fetched.

  The place of an example that was not fetched is another's, or M.
  """
  # Unrolled, it is one operation on a GPU; by default, a loop of small ones.
  return jnp.searchsorted(fetched.index, index, method="scan_unrolled")


def make_lookup(store: Examples) -> Lookup:
  """Returns the lookup of a store of N examples, memory-mapped or not.

  On the device, B drawings take B times the room of the store's longest.
  """
  if isinstance(store, Strokes):
    return _lookup_strokes(store)

  def room(count: int) -> Examples:
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype), store
    )

  def find(row: np.ndarray, count: int) -> Examples:
    found = jax.tree.map(lambda x: x[row], store)
    return jax.tree.map(_pad, found, room(count))

  return Lookup(room, find)


def _lookup_strokes(store: Strokes) -> Lookup:
  points = np.diff(store.stroke_start[store.drawing_start])
  lengths = (points, np.diff(store.drawing_start))
  most = [*(int(x.max(initial=0)) for x in lengths), 1]

  def room(count: int) -> Strokes:
    shapes = [
      jax.ShapeDtypeStruct((count * rows + end, *array.shape[1:]), array.dtype)
      for array, rows, end in zip(store, most, (0, 1, 1), strict=True)
    ]
    return Strokes(*shapes)

  def find(row: np.ndarray, count: int) -> Strokes:
    found = strokes.take_strokes(store, row)
    return Strokes(*map(_pad, found, room(count)))

  return Lookup(room, find)


def _pad(array: np.ndarray, room: jax.ShapeDtypeStruct) -> np.ndarray:
  """Fills the room with rows of zeros, or with the last of offsets."""
  mode = "edge" if array.ndim == 1 else "constant"
  sides = zip(array.shape, room.shape, strict=True)
  return np.pad(array, [(0, most - n) for n, most in sides], mode)
