"""Convolutions, each lowered in one of three ways, as are the `pools`.

XLA's convolutions are right on a GPU or TPU. On a CPU some of their forms are
fast and others are not, above all in the body of a loop: the gradient of a
3x3 convolution's input takes four times too long there and that of its kernel
a hundred times (jax#12868), and a depthwise or grouped one all that it does
(jax#13800). So every operation can be had as

  lax     what XLA has: `conv_general_dilated`, `reduce_window`
  shift   a sum over the cells of the window, each a shifted slice of the
          image: a product a cell for a convolution, a multiply-add a cell for
          a depthwise one; pools reduce the rows of a window, then the columns
  matmul  one matrix product over what the cells see, laid side by side
          (im2col); pools that tile the image reduce two axes of a reshaped
          one

and they are equal but for the order of float32 sums. But for "lax", whose
derivatives are XLA's, a convolution's two gradients are lowered in the same
manner; "auto" takes what the table FASTEST says is fastest for each, which
`python -m benchmarks.lowerings` checks. It knows one more
for the gradients, "plain": written as forward convolutions, that of the input
of the outputs' gradient with the kernel turned around, that of the kernel of
the images with the outputs' gradient for a kernel and the batch for channels.

Grouped convolutions that are not depthwise are dense ones of a block of
groups at a time, with zeros between the groups, unless lowered by lax.

Images are [B, H, W, C]. Padding is "SAME" or "VALID" as TensorFlow's, or
((top, bottom), (left, right)).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from alcurr.models.bilinear import make_bilinear
from alcurr.types import Array

LOWERINGS = ("auto", "lax", "shift", "matmul")

Padding = str | tuple[tuple[int, int], tuple[int, int]]


class Roles(NamedTuple):
  """How a convolution and its two gradients are lowered."""

  forward: str
  input_grad: str
  kernel_grad: str


# Kind of operation -> what is fastest, by backend; lax where none is listed.
FASTEST = {
  "cpu": {
    "full": Roles("lax", "plain", "plain"),
    # Of an image that the kernel does not fit into.
    "small": Roles("matmul", "matmul", "matmul"),
    # Of so few channels that XLA's convolutions have little to vectorise.
    "narrow": Roles("matmul", "matmul", "matmul"),
    "pointwise": Roles("matmul", "matmul", "matmul"),
    "depthwise": Roles("shift", "shift", "shift"),
    "grouped": "blocks",
    "pool": "shift",
  }
}

# Channels of a dense block of groups: what fills a CPU's vector registers.
BLOCK = 32
# The longest rows of im2col whose product is faster than a convolution.
NARROW = 72


def resolve(lowering: str | Roles, kind: str) -> str | Roles:
  """What a lowering means for a kind of operation, here and now."""
  if lowering != "auto":
    return lowering
  return FASTEST.get(jax.default_backend(), {}).get(kind, "lax")


class _Case(NamedTuple):
  """All that a convolution is but its operands."""

  roles: Roles
  stride: int
  pads: tuple[tuple[int, int], tuple[int, int]]
  depthwise: bool
  image: tuple[int, ...]  # shapes of the operands
  kernel: tuple[int, ...]


def conv(
  x: Array,
  kernel: Array,
  *,
  stride: int = 1,
  padding: Padding = "SAME",
  groups: int = 1,
  lowering: str | Roles = "auto",
) -> Array:
  """Convolution of x [B, H, W, C] with kernel [kh, kw, C / groups, C'].

  Args:
    x: images.
    kernel: HWIO; output channel d sees the input channels of its group,
      d * groups // C'.
    stride: of both axes.
    padding: see the module.
    groups: 1; or C with C' = C, a kernel for each channel (depthwise); or a
      divisor of C and C'.
    lowering: one of LOWERINGS, or one for each role.

  Returns:
    [B, H', W', C'].
  """
  window = kernel.shape[:2]
  pads = explicit_pads(x, window, stride, padding)
  depthwise = groups > 1 and groups == x.shape[-1] == kernel.shape[-1]
  if depthwise:
    kind = "depthwise"
  elif groups > 1:
    kind = "grouped"
  elif math.prod(window) == 1:
    kind = "pointwise"
  else:
    kind = _kind_of_full(x.shape, kernel.shape)
  how = resolve(lowering, kind)
  if how == "lax":
    return _lax_conv(x, kernel, stride, pads, groups)
  if kind == "grouped":
    return _in_blocks(x, kernel, stride, pads, groups, lowering)
  roles = how if isinstance(how, Roles) else Roles(how, how, how)
  case = _Case(roles, stride, pads, depthwise, x.shape, kernel.shape)
  return _conv(x, kernel, case=case)


def _kind_of_full(image: tuple[int, ...], kernel: tuple[int, ...]) -> str:
  if any(n < k for n, k in zip(image[1:3], kernel[:2], strict=True)):
    return "small"
  # What a place sees, as the row of a matrix.
  return "narrow" if math.prod(kernel[:3]) <= NARROW else "full"


def _lax_conv(x: Array, kernel: Array, stride: int, pads, groups: int) -> Array:
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    pads,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


def _in_blocks(
  x: Array,
  kernel: Array,
  stride: int,
  pads,
  groups: int,
  lowering: str | Roles,
) -> Array:
  """A grouped convolution as dense ones of at least BLOCK channels."""
  kh, kw, inputs, features = kernel.shape
  features //= groups
  size = math.gcd(groups, max(1, BLOCK // inputs))  # groups in a block
  kernel = kernel.reshape(kh, kw, inputs, groups // size, size, features)
  eye = jnp.eye(size, dtype=kernel.dtype)
  dense = jnp.einsum("hwinso,zs->hwzinso", kernel, eye)
  dense = dense.reshape(kh, kw, size * inputs, -1, size * features)
  outs = [
    conv(
      x[..., i * size * inputs :][..., : size * inputs],
      dense[..., i, :],
      stride=stride,
      padding=pads,
      lowering=lowering,
    )
    for i in range(groups // size)
  ]
  return jnp.concatenate(outs, -1)


def _forward(x: Array, kernel: Array, *, case: _Case) -> Array:
  return _apply(
    x, kernel, case.roles.forward, case.stride, case.pads, case.depthwise
  )


def _apply(
  x: Array, kernel: Array, how: str, stride: int, pads, depthwise: bool
) -> Array:
  if how == "lax":
    groups = x.shape[-1] if depthwise else 1
    return _lax_conv(x, kernel, stride, pads, groups)
  seen = shifts(x, kernel.shape[:2], stride, pads, 0)
  taps = kernel.reshape(-1, *kernel.shape[2:])
  if how == "shift":
    if depthwise:
      return sum(one * tap[0] for one, tap in zip(seen, taps, strict=True))
    return sum(one @ tap for one, tap in zip(seen, taps, strict=True))
  seen = jnp.stack(seen, -2)  # [B, H', W', T, C]
  if depthwise:
    return (seen * taps[:, 0]).sum(-2)
  flat = seen.reshape(*seen.shape[:3], -1)
  return flat @ taps.reshape(-1, taps.shape[-1])


def _input_grad(g: Array, kernel: Array, *, case: _Case) -> Array:
  """[B, H', W', C'] and the kernel -> [B, H, W, C]."""
  how, stride = case.roles.input_grad, case.stride
  if how == "lax":
    groups = case.image[-1] if case.depthwise else 1
    image = jax.ShapeDtypeStruct(case.image, g.dtype)
    transposed = jax.linear_transpose(
      lambda x: _lax_conv(x, kernel, stride, case.pads, groups), image
    )
    return transposed(g)[0]
  if math.prod(case.kernel[:2]) == 1:
    g = _times_transposed(g, kernel[0, 0])
    return _dilate(g, stride, _back(case, g.shape))
  if how == "matmul" and not case.depthwise:
    seen = _times_transposed(g, kernel.reshape(-1, kernel.shape[-1]))
    image = jax.ShapeDtypeStruct(case.image, g.dtype)
    side_by_side = jax.linear_transpose(
      lambda x: jnp.concatenate(
        shifts(x, kernel.shape[:2], stride, case.pads, 0), -1
      ),
      image,
    )
    return side_by_side(seen)[0]
  # What a pixel gave to the outputs, it gets from them: a convolution of the
  # outputs, strides apart, with the kernel turned by half a turn.
  g = _dilate(g, stride, _back(case, g.shape))
  kernel = kernel[::-1, ::-1]
  if not case.depthwise:
    kernel = kernel.swapaxes(2, 3)
  how = "lax" if how == "plain" else how
  return _apply(g, kernel, how, 1, ((0, 0), (0, 0)), case.depthwise)


def _times_transposed(g: Array, kernel: Array) -> Array:
  """[B, H, W, D] and [C, D] -> [B, H, W, C]."""
  # The second operand is what XLA transposes: the smaller one.
  if math.prod(g.shape[:3]) < kernel.shape[0]:
    return jnp.einsum("cd,bhwd->cbhw", kernel, g).transpose(1, 2, 3, 0)
  return jnp.einsum("bhwd,cd->bhwc", g, kernel)


def _back(case: _Case, shape: tuple[int, ...]):
  """The padding of the outputs' gradient for the gradient of the images."""
  return [
    (k - 1 - before, n + before - 1 - (m - 1) * case.stride)
    for k, n, m, (before, _) in zip(
      case.kernel[:2], case.image[1:3], shape[1:3], case.pads, strict=True
    )
  ]


def _dilate(x: Array, stride: int, pads) -> Array:
  """Pixels `stride` apart, with zeros between and about them."""
  if stride == 1 and not np.any(pads):
    return x
  return lax.pad(
    x,
    np.zeros((), x.dtype),
    ((0, 0, 0), *((lo, hi, stride - 1) for lo, hi in pads), (0, 0, 0)),
  )


def _kernel_grad(x: Array, g: Array, *, case: _Case) -> Array:
  """The images and [B, H', W', C'] -> [kh, kw, C, C']."""
  how, stride, pads = case.roles.kernel_grad, case.stride, case.pads
  window = case.kernel[:2]
  if how == "plain":
    after = [
      (n + a + b - k) % stride
      for n, k, (a, b) in zip(x.shape[1:3], window, pads, strict=True)
    ]
    grad = lax.conv_general_dilated(
      x.transpose(3, 1, 2, 0),
      g.transpose(1, 2, 0, 3),
      (1, 1),
      [(a, b - extra) for (a, b), extra in zip(pads, after, strict=True)],
      rhs_dilation=(stride, stride),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return grad.transpose(1, 2, 0, 3)
  if case.depthwise:
    return _depthwise_kernel_grad(x, g, case)
  seen = shifts(x, window, stride, pads, 0)
  if how == "shift":
    grad = jnp.stack([_outer(one, g) for one in seen])
  else:
    grad = _outer(jnp.concatenate(seen, -1), g)
  return grad.reshape(case.kernel)


def _outer(x: Array, g: Array) -> Array:
  """Sum over all places: [B, H, W, C] and [B, H, W, D] -> [C, D]."""
  # The first operand is what XLA transposes: the one with fewer channels.
  if x.shape[-1] > g.shape[-1]:
    return jnp.einsum("bhwd,bhwc->dc", g, x).T
  return jnp.einsum("bhwc,bhwd->cd", x, g)


def _depthwise_kernel_grad(x: Array, g: Array, case: _Case) -> Array:
  """A sum over the examples, one by one: what they see stays in the cache."""

  def add(total: Array, one: tuple[Array, Array]) -> tuple[Array, None]:
    x, g = one
    seen = shifts(x[None], case.kernel[:2], case.stride, case.pads, 0)
    return total + jnp.stack([(s[0] * g).sum((0, 1)) for s in seen]), None

  start = jnp.zeros((math.prod(case.kernel[:2]), x.shape[-1]), x.dtype)
  return lax.scan(add, start, (x, g))[0].reshape(case.kernel)


# Each is the transpose of the others, with the same case.
_conv, _, _ = make_bilinear("conv", _forward, _input_grad, _kernel_grad)


def explicit_pads(
  x: Array, window: tuple[int, int], stride: int, padding: Padding
) -> tuple[tuple[int, int], tuple[int, int]]:
  """Rows and columns before and after an image, of any padding."""
  if not isinstance(padding, str):
    return padding
  return tuple(
    lax.padtype_to_pads(x.shape[1:3], window, (stride, stride), padding)
  )


def shifts(
  x: Array, window: tuple[int, int], stride: int, pads, value: float
) -> list[Array]:
  """The slices of x [B, H, W, C] that the cells of a sliding window see.

  Slice i * kw + j holds what cell (i, j) sees from each place [B, H', W', C].
  """
  if np.any(pads):
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=value)
  height, width = (
    (n - k) // stride * stride + 1
    for n, k in zip(x.shape[1:3], window, strict=True)
  )
  return [
    x[:, i : i + height : stride, j : j + width : stride]
    for i in range(window[0])
    for j in range(window[1])
  ]
