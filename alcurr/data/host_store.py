"""Pools larger than the device: examples stay on the host until drawn.

The samplers choose on the device as ever, from labels, difficulties and arms,
which are there; what was drawn is fetched from the host's store, in memory or
memory-mapped, in the middle of the step, or ahead of it (`alcurr.training.prefetch`).
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.data.quickdraw import strokes
from alcurr.types import Array, Fetched, Images, Strokes

# (row [B] int32 of the store) -> the B examples there, in that order
Fetch = Callable[[Array], Images | Strokes]


class Lookup(NamedTuple):
  """A store's examples on their way to the device."""

  # (count) -> the shapes of what so many examples take there, at most
  room: Callable[[int], Images | Strokes]
  # (row [b], count) -> the examples there in that order, filled up to the room
  # of count, of which what is left over is never read
  find: Callable[[np.ndarray, int], Images | Strokes]


# A number for each store, in the text of the programs that fetch from it: two
# that fetch from two stores are two programs, however alike.
_numbers = itertools.count()


def make_fetch(lookup: Lookup) -> Fetch:
  """A function that fetches examples of a store, for use under `jax.jit`."""
  number = np.uint32(next(_numbers))

  def on_host(number: Array, row: Array) -> Images | Strokes:
    row = np.asarray(row)  # [B], under vmap [trials, B]
    count = row.shape[-1]
    found = [lookup.find(one, count) for one in row.reshape(-1, count)]
    return jax.tree.map(
      lambda *x: np.stack(x).reshape(row.shape[:-1] + x[0].shape), *found
    )

  def fetch(row: Array) -> Images | Strokes:
    return jax.pure_callback(
      on_host, lookup.room(row.shape[0]), number, row, vmap_method="expand_dims"
    )

  return fetch


def place_in(fetched: Fetched, index: Array) -> Array:
  """Where examples are among those that were fetched: [B] int32.

  Of one that is not there the place of another, or M.

  Args:
    fetched: M examples.
    index: [B] int32, into the pool.
  """
  # Unrolled it is one operation of a GPU; by default, a loop of small ones.
  return jnp.searchsorted(fetched.index, index, method="scan_unrolled")


def make_lookup(store: Images | Strokes) -> Lookup:
  """Finds a store's examples.

  Some drawings have a fixed size on the device: as many times the room that
  the longest of the store takes.

  Args:
    store: N examples as NumPy arrays, memory-mapped or not.
  """
  if isinstance(store, Strokes):
    return _lookup_strokes(store)
  return _lookup_images(store)


def _lookup_images(store: Images) -> Lookup:

  def room(count: int) -> Images:
    shape = (count, *store.image.shape[1:])
    return Images(jax.ShapeDtypeStruct(shape, store.image.dtype))

  def find(row: np.ndarray, count: int) -> Images:
    return Images(_filled_up(store.image[row], count))

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
      _filled_up(found.points, points.shape[0]),
      _filled_up(found.stroke_start, starts.shape[0], mode="edge"),
      _filled_up(found.drawing_start, drawings.shape[0], mode="edge"),
    )

  return Lookup(room, find)


def _filled_up(array: np.ndarray, length: int, mode: str = "constant"):
  """An array with more rows at its end."""
  rows = (0, length - len(array))
  return np.pad(array, (rows, *[(0, 0)] * (array.ndim - 1)), mode=mode)
