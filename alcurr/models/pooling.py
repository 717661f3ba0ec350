"""Max and average pooling, each with a choice of lowering; see `lowerings`."""

import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax

from alcurr.models import lowerings
from alcurr.models._conv_primitive import Pads, explicit_pads
from alcurr.models.lowerings import Padding
from alcurr.types import Array


def max_pool(
  x: Array,
  window: int,
  stride: int,
  padding: Padding = "VALID",
  lowering: str = "auto",
) -> Array:
  """Takes the maximum of each window: [B, H, W, C] -> [B, H', W', C].

  Padding is ignored.
  """
  pads = explicit_pads(x, (window, window), stride, padding)
  return _reduce(x, window, stride, pads, lowering, lax.max, -jnp.inf)


def avg_pool(
  x: Array,
  window: int,
  stride: int,
  padding: Padding = "VALID",
  lowering: str = "auto",
) -> Array:
  """Averages each window: [B, H, W, C] -> [B, H', W', C].

  Padding is not counted, as in TensorFlow.
  """
  pads = explicit_pads(x, (window, window), stride, padding)
  total = _reduce(x, window, stride, pads, lowering, lax.add, 0)
  inside = np.pad(np.ones(x.shape[1:3]), pads)
  cells = np.lib.stride_tricks.sliding_window_view(inside, (window, window))
  count = cells[::stride, ::stride].sum((2, 3))
  return total * jnp.asarray(1 / count[..., None], x.dtype)


def _reduce(
  x: Array,
  window: int,
  stride: int,
  pads: Pads,
  lowering: str,
  op: Callable[[Array, Array], Array],
  initial: float,
) -> Array:
  """Reduces each window, by XLA, as a tile of the image or by slices."""
  lowering = lowerings.resolve(lowering, "pool")
  start = np.asarray(initial, x.dtype)
  if lowering == "lax":
    windows, strides = (1, window, window, 1), (1, stride, stride, 1)
    padding = ((0, 0), *pads, (0, 0))
    return lax.reduce_window(x, start, op, windows, strides, padding)
  if lowering == "matmul" and stride == window and not np.any(pads):
    # Rows and columns that do not fill a tile are dropped.
    rows, columns = x.shape[1] // window, x.shape[2] // window
    x = x[:, : rows * window, : columns * window]
    tiles = x.reshape(x.shape[0], rows, window, columns, window, x.shape[-1])
    return lax.reduce(tiles, start, op, (2, 4))
  # Rows, then columns: 2 * window slices instead of window ** 2.
  for axis in (1, 2):
    if any(pads[axis - 1]):
      widths = [(0, 0)] * x.ndim
      widths[axis] = pads[axis - 1]
      x = jnp.pad(x, widths, constant_values=initial)
    size = (x.shape[axis] - window) // stride * stride + 1
    slices = [
      lax.slice_in_dim(x, i, i + size, stride, axis) for i in range(window)
    ]
    x = functools.reduce(op, slices)
  return x
