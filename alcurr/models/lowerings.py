"""Convolutions and pools, each with a choice of three lowerings.

XLA's convolutions are fast on a GPU or TPU. On a CPU some are slow. In the
body of a loop, the gradient of a 3x3 convolution's input takes four times too
long and that of its kernel a hundred times (jax#12868). Depthwise and grouped
convolutions are slow throughout (jax#13800). Every operation has three:

  lax     XLA's own: `conv_general_dilated`, `reduce_window`
  shift   a sum over the cells of the window, each a shifted slice of the
          image: one product per cell for a convolution, one multiply-add per
          cell for a depthwise one; pools reduce rows, then columns
  matmul  one matrix product over the patches of the image (im2col); pools
          that tile the image reduce two axes of a reshaped image

They differ only in the order of float32 sums. The gradients of a convolution
are lowered in the same way, except for "lax", whose derivatives are XLA's.
"auto" looks each operation up in FASTEST, which `python -m
benchmarks.lowerings` checks. Its "plain" writes a gradient as XLA's forward
convolution: of the outputs' gradient with the kernel turned around, or of the
images with the outputs' gradient as kernel and the batch as channels.

Images are [B, H, W, C]. Padding is TensorFlow's "SAME" or "VALID", or
((top, bottom), (left, right)).
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

from alcurr.models import _conv_primitive
from alcurr.models._conv_primitive import Padding, Pads, Roles
from alcurr.types import Array

LOWERINGS = ("auto", "lax", "shift", "matmul")

# By backend, the fastest lowering of a kind of operation; the default is lax.
FASTEST = {
  "cpu": {
    "full": Roles("lax", "plain", "plain"),
    # The image is smaller than the kernel.
    "small": "matmul",
    # Too few channels for XLA's convolutions to vectorise.
    "narrow": "matmul",
    "pointwise": "matmul",
    "depthwise": "shift",
    "grouped": "blocks",
    "pool": "shift",
  }
}

# The channels of a dense block of groups: they fill a CPU's vector registers.
BLOCK = 32
# The longest patches for which im2col is faster than a convolution.
NARROW = 72


def resolve(lowering: str | Roles, kind: str) -> str | Roles:
  """Returns the lowering, with "auto" replaced by the backend's fastest."""
  if lowering != "auto":
    return lowering
  return FASTEST.get(jax.default_backend(), {}).get(kind, "lax")


def conv(
  x: Array,
  kernel: Array,
  *,
  stride: int = 1,
  padding: Padding = "SAME",
  groups: int = 1,
  lowering: str | Roles = "auto",
) -> Array:
  """Convolves x [B, H, W, C] with kernel [kh, kw, C / groups, C'].

  `groups` divides C and C'. Output channel d sees the input channels of group
  d * groups // C'. With `groups` = C = C', it is depthwise.

  Returns:
    [B, H', W', C'].
  """
  pads = _conv_primitive.explicit_pads(x, kernel.shape[:2], stride, padding)
  kind = _kind_of(x.shape, kernel.shape, groups)
  resolved = resolve(lowering, kind)
  if resolved == "lax":
    strides = (stride, stride)
    return _conv_primitive.lax_conv(
      x, kernel, strides, pads, feature_group_count=groups
    )
  if kind == "grouped":
    how = {"stride": stride, "padding": pads, "lowering": lowering}
    return _conv_in_blocks(x, kernel, groups, **how)
  if not isinstance(resolved, Roles):
    resolved = Roles(resolved, resolved, resolved)
  case = _conv_primitive.Case(
    resolved, stride, pads, kind == "depthwise", x.shape, kernel.shape
  )
  return _conv_primitive.conv(x, kernel, case=case)


def _kind_of(
  image: tuple[int, ...], kernel: tuple[int, ...], groups: int
) -> str:
  """Returns the key of FASTEST."""
  if groups > 1:
    return "depthwise" if groups == image[-1] == kernel[-1] else "grouped"
  if math.prod(kernel[:2]) == 1:
    return "pointwise"
  if any(n < k for n, k in zip(image[1:3], kernel[:2], strict=True)):
    return "small"
  return "narrow" if math.prod(kernel[:3]) <= NARROW else "full"


def _conv_in_blocks(x: Array, kernel: Array, groups: int, **how: Any) -> Array:
  """Computes a grouped convolution as dense ones of at least BLOCK channels.

  A kernel has zeros between the groups of its block.
  """
  kh, kw, inputs, features = kernel.shape
  features //= groups
  size = math.gcd(groups, max(1, BLOCK // inputs))  # groups per block
  kernel = kernel.reshape(kh, kw, inputs, groups // size, size, features)
  eye = jnp.eye(size, dtype=kernel.dtype)
  dense = jnp.einsum("hwinso,zs->hwzinso", kernel, eye)
  width = size * inputs
  dense = dense.reshape(kh, kw, width, -1, size * features)
  outs = [
    conv(x[..., i * width :][..., :width], dense[..., i, :], **how)
    for i in range(groups // size)
  ]
  return jnp.concatenate(outs, -1)


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
  pads = _conv_primitive.explicit_pads(x, (window, window), stride, padding)
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
  pads = _conv_primitive.explicit_pads(x, (window, window), stride, padding)
  total = _reduce(x, window, stride, pads, lowering, lax.add, 0)
  inside = np.pad(np.ones(x.shape[1:3]), pads)
  cells = np.lib.stride_tricks.sliding_window_view(inside, (window, window))
  count = cells[::stride, ::stride].sum((2, 3))
  return total * jnp.asarray(1 / count[None, ..., None], x.dtype)


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
  lowering = resolve(lowering, "pool")
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


@jax.jit
def _same(x: Array) -> Array:
  return lax.optimization_barrier(x)


def stored(x: Array) -> Array:
  """Returns x, which is then stored and read where it is used.

  On a CPU, XLA computes cheap values again for each of their readers, from what
  is in memory: in a residual network from all the blocks before. It does not do
  so through a call that it may not inline. The gradient of x is stored too.
  """
  if jax.default_backend() != "cpu":
    return x
  with set_xla_metadata(inlineable="false"):
    return _same(x)
