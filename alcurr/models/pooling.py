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
  lowering = lowerings.resolve(lowering, "pool")
  pads = explicit_pads(x, (window, window), stride, padding)
  if lowering == "matmul" and stride == window and not np.any(pads):
    return _tiles(x, window).max((2, 4))
  return _reduce(
    x, window, stride, pads, -jnp.inf, lowering, lax.max, jnp.maximum
  )


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
  lowering = lowerings.resolve(lowering, "pool")
  pads = explicit_pads(x, (window, window), stride, padding)
  if lowering == "matmul" and stride == window and not np.any(pads):
    return _tiles(x, window).mean((2, 4))
  total = _reduce(x, window, stride, pads, 0, lowering, lax.add, jnp.add)
  inside = np.pad(np.ones(x.shape[1:3]), pads)
  cells = np.lib.stride_tricks.sliding_window_view(inside, (window, window))
  count = cells[::stride, ::stride].sum((2, 3))
  return total * jnp.asarray(1 / count[None, ..., None], x.dtype)


def _reduce(
  x: Array,
  window: int,
  stride: int,
  pads: Pads,
  initial: float,
  lowering: str,
  lax_op: Callable[..., Array],
  op: Callable[[Array, Array], Array],
) -> Array:
  """Reduces each window, by XLA or by slices."""
  if lowering == "lax":
    windows, strides = (1, window, window, 1), (1, stride, stride, 1)
    padding = ((0, 0), *pads, (0, 0))
    value = np.asarray(initial, x.dtype)
    return lax.reduce_window(x, value, lax_op, windows, strides, padding)
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


def _tiles(x: Array, window: int) -> Array:
  """Cuts x [B, H, W, C] into tiles [B, H', window, W', window, C].

  Rows and columns that do not fill a tile are dropped.
  """
  rows, columns = x.shape[1] // window, x.shape[2] // window
  x = x[:, : rows * window, : columns * window]
  return x.reshape(x.shape[0], rows, window, columns, window, x.shape[-1])
