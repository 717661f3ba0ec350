"""Pools, each lowered in one of three ways, see `lowerings`."""

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax

from alcurr.models import lowerings
from alcurr.types import Array


def max_pool(
  x: Array,
  *,
  window: int,
  stride: int,
  padding: lowerings.Padding = "VALID",
  lowering: str = "auto",
) -> Array:
  """Largest of each window: [B, H, W, C] -> [B, H', W', C].

  What is padded counts for nothing.
  """
  how = lowerings.resolve(lowering, "pool")
  square = (window, window)
  pads = lowerings.explicit_pads(x, square, stride, padding)
  if how == "lax":
    return lax.reduce_window(
      x,
      -jnp.inf,
      lax.max,
      (1, *square, 1),
      (1, stride, stride, 1),
      ((0, 0), *pads, (0, 0)),
    )
  if how == "matmul" and stride == window and not np.any(pads):
    return _tiles(x, window).max((2, 4))
  # Over rows, then over columns: 2 k cells instead of k * k.
  for axis in (1, 2):
    x = _reduced(x, axis, window, stride, pads[axis - 1], jnp.maximum, -jnp.inf)
  return x


def _reduced(x: Array, axis: int, window: int, stride: int, pads, of, value):
  """The cells of a window along an axis, reduced by `of` two by two."""
  if any(pads):
    widths = [(0, 0)] * x.ndim
    widths[axis] = pads
    x = jnp.pad(x, widths, constant_values=value)
  size = (x.shape[axis] - window) // stride * stride + 1
  return functools.reduce(
    of,
    [lax.slice_in_dim(x, i, i + size, stride, axis) for i in range(window)],
  )


def avg_pool(
  x: Array,
  *,
  window: int,
  stride: int,
  padding: lowerings.Padding = "VALID",
  lowering: str = "auto",
) -> Array:
  """Mean of each window: [B, H, W, C] -> [B, H', W', C].

  The mean of what lies in the image, as TensorFlow's; padding is not counted.
  """
  how = lowerings.resolve(lowering, "pool")
  square = (window, window)
  pads = lowerings.explicit_pads(x, square, stride, padding)
  if how == "matmul" and stride == window and not np.any(pads):
    return _tiles(x, window).mean((2, 4))
  if how == "lax":
    total = lax.reduce_window(
      x,
      np.zeros((), x.dtype),
      lax.add,
      (1, *square, 1),
      (1, stride, stride, 1),
      ((0, 0), *pads, (0, 0)),
    )
  else:
    total = x
    for axis in (1, 2):
      pad = pads[axis - 1]
      total = _reduced(total, axis, window, stride, pad, jnp.add, 0)
  inside = np.pad(np.ones(x.shape[1:3]), pads)
  cells = np.lib.stride_tricks.sliding_window_view(inside, square)
  count = cells[::stride, ::stride].sum((2, 3))
  return total * jnp.asarray(1 / count[..., None], x.dtype)


def _tiles(x: Array, window: int) -> Array:
  """[B, H, W, C] -> [B, H', window, W', window, C], what fills none left."""
  rows, columns = x.shape[1] // window, x.shape[2] // window
  x = x[:, : rows * window, : columns * window]
  return x.reshape(x.shape[0], rows, window, columns, window, x.shape[-1])
