"""Pools larger than the device: examples stay on the host until drawn.

The samplers choose on the device as ever, from labels, difficulties and arms,
which are there; what was drawn is fetched from the host's store, in memory or
memory-mapped, in the middle of the step.
"""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.data import strokes
from alcurr.types import Array, Images, Strokes

# (row [B] int32 of the store) -> the B examples there, in that order
Fetch = Callable[[Array], Images | Strokes]

# A number for each store, in the text of the programs that fetch from it: two
# that fetch from two stores are two programs, however alike.
_numbers = itertools.count()


def make_fetch(store: Images | Strokes) -> Fetch:
  """A function that fetches examples of a store, for use under `jax.jit`.

  A batch of drawings has a fixed size on the device: B times the room that the
  longest of the store takes, of which what is left over is never read.

  Args:
    store: N examples as NumPy arrays, memory-mapped or not.
  """
  make = _of_strokes if isinstance(store, Strokes) else _of_images
  room, look_up = make(store)
  number = np.uint32(next(_numbers))

  def on_host(number: Array, row: Array) -> Images | Strokes:
    row = np.asarray(row)  # [B], under vmap [trials, B]
    found = [look_up(one) for one in row.reshape(-1, row.shape[-1])]
    return jax.tree.map(
      lambda *x: np.stack(x).reshape(row.shape[:-1] + x[0].shape), *found
    )

  def fetch(row: Array) -> Images | Strokes:
    return jax.pure_callback(
      on_host, room(row.shape[0]), number, row, vmap_method="expand_dims"
    )

  return fetch


def _of_images(store: Images):
  """What B images take on the device, and how they are found."""

  def room(count: int) -> Images:
    shape = (count, *store.image.shape[1:])
    return Images(jax.ShapeDtypeStruct(shape, store.image.dtype))

  return room, lambda row: Images(store.image[row])


def _of_strokes(store: Strokes):
  """What B drawings take on the device, and how they are found."""
  longest = np.diff(store.stroke_start[store.drawing_start]).max(initial=0)
  most = np.diff(store.drawing_start).max(initial=0)
  columns = store.points.shape[1]

  def room(count: int) -> Strokes:
    return Strokes(
      jax.ShapeDtypeStruct((count * int(longest), columns), jnp.uint8),
      jax.ShapeDtypeStruct((count * int(most) + 1,), jnp.uint32),
      jax.ShapeDtypeStruct((count + 1,), jnp.int32),
    )

  def look_up(row: np.ndarray) -> Strokes:
    found = strokes.take_strokes(store, row)
    points, starts, _ = room(len(row))
    left = (
      points.shape[0] - len(found.points),
      starts.shape[0] - len(found.stroke_start),
    )
    return found._replace(
      points=np.pad(found.points, ((0, left[0]), (0, 0))),
      stroke_start=np.pad(found.stroke_start, (0, left[1]), mode="edge"),
    )

  return room, look_up
