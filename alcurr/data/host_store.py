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
from alcurr.types import Array, Fetched, Images, Strokes

# (row [B] int32 of the store) -> those B examples, in that order
Fetch = Callable[[Array], Images | Strokes]


class Lookup(NamedTuple):
  """Finds a store's examples and says how large they are on the device."""

  # (count) -> shapes that hold any `count` examples
  room: Callable[[int], Images | Strokes]
  # (row [b], count) -> those examples, padded to `room(count)`
  find: Callable[[np.ndarray, int], Images | Strokes]


# A number of each store, written into the programs that fetch from it:
# programs that read two stores must differ, however alike they are.
_numbers = itertools.count()


def make_fetch(lookup: Lookup) -> Fetch:
  """Returns a function that fetches examples under `jax.jit`."""
  number = np.uint32(next(_numbers))

  def on_host(number: Array, row: Array) -> Images | Strokes:
    row = np.asarray(row)  # [B], under vmap [S, B]
    count = row.shape[-1]
    found = [lookup.find(rows, count) for rows in row.reshape(-1, count)]
    return jax.tree.map(
      lambda *x: np.stack(x).reshape(row.shape[:-1] + x[0].shape), *found
    )

  def fetch(row: Array) -> Images | Strokes:
    return jax.pure_callback(
      on_host, lookup.room(row.shape[0]), number, row, vmap_method="expand_dims"
    )

  return fetch


def place_in(fetched: Fetched, index: Array) -> Array:
  """Returns the places of examples among those fetched: [B] int32.

  The place of an example that was not fetched is another's, or M.

  Args:
    fetched: M examples.
    index: [B] int32, into the pool.
  """
  # Unrolled, it is one operation on a GPU; by default, a loop of small ones.
  return jnp.searchsorted(fetched.index, index, method="scan_unrolled")


def make_lookup(store: Images | Strokes) -> Lookup:
  """Returns the lookup of a store.

  Args:
    store: N examples as NumPy arrays, memory-mapped or not. B drawings take B
      times the room of the store's longest.
  """
  if isinstance(store, Strokes):
    return _lookup_strokes(store)

  def room(count: int) -> Images:
    shape = (count, *store.image.shape[1:])
    return Images(jax.ShapeDtypeStruct(shape, store.image.dtype))

  def find(row: np.ndarray, count: int) -> Images:
    return Images(_pad(store.image[row], count))

  return Lookup(room, find)


def _lookup_strokes(store: Strokes) -> Lookup:
  longest = np.diff(store.stroke_start[store.drawing_start]).max(initial=0)
  most = np.diff(store.drawing_start).max(initial=0)
  columns = store.points.shape[1]

  def room(count: int) -> Strokes:
    return Strokes(
      jax.ShapeDtypeStruct((count * int(longest), columns), jnp.uint8),
      jax.ShapeDtypeStruct((count * int(most) + 1,), jnp.uint32),
      jax.ShapeDtypeStruct((count + 1,), jnp.int32),
    )

  def find(row: np.ndarray, count: int) -> Strokes:
    found = strokes.take_strokes(store, row)
    points, starts, drawings = room(count)
    return Strokes(
      _pad(found.points, points.shape[0]),
      _pad(found.stroke_start, starts.shape[0], mode="edge"),
      _pad(found.drawing_start, drawings.shape[0], mode="edge"),
    )

  return Lookup(room, find)


def _pad(array: np.ndarray, length: int, mode: str = "constant") -> np.ndarray:
  """Adds rows at the end."""
  rows = (0, length - len(array))
  return np.pad(array, (rows, *[(0, 0)] * (array.ndim - 1)), mode=mode)
