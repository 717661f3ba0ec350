"""The convolution as a JAX primitive whose gradients have lowerings too.

A convolution y = f(x, k) is linear in x and in k. Its two gradients,
x' = g(y', k) and k' = h(x, y'), are linear as well, and each of the three
functions is the transpose of the others. Three primitives that name each
other as transposes can be differentiated forward and backward, to any order;
`jax.custom_vjp` would refuse forward mode.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from alcurr.types import Array

Pads = tuple[tuple[int, int], tuple[int, int]]
Padding = str | Pads


class Roles(NamedTuple):
  """The lowerings of a convolution and of its two gradients."""

  forward: str
  input_grad: str
  kernel_grad: str


class Case(NamedTuple):
  """Everything that defines a convolution except its operands."""

  roles: Roles
  stride: int
  pads: Pads
  depthwise: bool
  image: tuple[int, ...]  # the shapes of the operands
  kernel: tuple[int, ...]


def explicit_pads(
  x: Array, window: tuple[int, int], stride: int, padding: Padding
) -> Pads:
  """Returns the rows and columns to add before and after an image."""
  if not isinstance(padding, str):
    return padding
  return tuple(
    lax.padtype_to_pads(x.shape[1:3], window, (stride, stride), padding)
  )


def lax_conv(
  x: Array, kernel: Array, stride: int, pads: Pads, groups: int
) -> Array:
  """Returns XLA's own convolution."""
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    pads,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


def _shifts(
  x: Array, window: tuple[int, int], stride: int, pads: Pads
) -> list[Array]:
  """Returns the slices of x [B, H, W, C] under each cell of a sliding window.

  Slice i * kw + j holds what cell (i, j) sees from each place [B, H', W', C].
  """
  if np.any(pads):
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
  height, width = (
    (n - k) // stride * stride + 1
    for n, k in zip(x.shape[1:3], window, strict=True)
  )
  return [
    x[:, i : i + height : stride, j : j + width : stride]
    for i in range(window[0])
    for j in range(window[1])
  ]


def _forward(x: Array, kernel: Array, *, case: Case) -> Array:
  lowering = case.roles.forward
  return _apply(x, kernel, lowering, case.stride, case.pads, case.depthwise)


def _apply(
  x: Array,
  kernel: Array,
  lowering: str,
  stride: int,
  pads: Pads,
  depthwise: bool,
) -> Array:
  """Returns a convolution that is lowered by `lowering`."""
  if lowering == "lax":
    return lax_conv(x, kernel, stride, pads, x.shape[-1] if depthwise else 1)
  slices = _shifts(x, kernel.shape[:2], stride, pads)
  taps = kernel.reshape(-1, *kernel.shape[2:])
  if lowering == "shift":
    pairs = zip(slices, taps, strict=True)
    if depthwise:
      return sum(cell * tap[None, None] for cell, tap in pairs)
    return sum(cell @ tap for cell, tap in pairs)
  patches = jnp.stack(slices, -2)  # [B, H', W', kh * kw, C]
  if depthwise:
    return (patches * taps[:, 0]).sum(-2)
  patches = patches.reshape(*patches.shape[:3], -1)
  return patches @ taps.reshape(-1, taps.shape[-1])


def _input_grad(g: Array, kernel: Array, *, case: Case) -> Array:
  """Returns x' [B, H, W, C] from g = y' [B, H', W', C'] and the kernel."""
  lowering, stride = case.roles.input_grad, case.stride
  image = jax.ShapeDtypeStruct(case.image, g.dtype)
  if lowering == "lax":
    groups = case.image[-1] if case.depthwise else 1
    transposed = jax.linear_transpose(
      lambda x: lax_conv(x, kernel, stride, case.pads, groups), image
    )
    return transposed(g)[0]
  if math.prod(case.kernel[:2]) == 1:
    g = _times_transposed(g, kernel[0, 0])
    return _dilate(g, stride, _grad_pads(case, g.shape))
  if lowering == "matmul" and not case.depthwise:
    patches = _times_transposed(g, kernel.reshape(-1, kernel.shape[-1]))
    window = kernel.shape[:2]
    transposed = jax.linear_transpose(
      lambda x: jnp.concatenate(_shifts(x, window, stride, case.pads), -1),
      image,
    )
    return transposed(patches)[0]
  # The transpose of a convolution is a convolution of the dilated gradient
  # with the kernel turned by 180 degrees.
  g = _dilate(g, stride, _grad_pads(case, g.shape))
  kernel = kernel[::-1, ::-1]
  if not case.depthwise:
    kernel = kernel.swapaxes(2, 3)
  lowering = "lax" if lowering == "plain" else lowering
  return _apply(g, kernel, lowering, 1, ((0, 0), (0, 0)), case.depthwise)


def _times_transposed(g: Array, kernel: Array) -> Array:
  """Multiplies [B, H, W, D] by the transpose of [C, D]: [B, H, W, C]."""
  # XLA transposes the second operand, which should be the smaller one.
  if math.prod(g.shape[:3]) < kernel.shape[0]:
    return jnp.einsum("cd,bhwd->cbhw", kernel, g).transpose(1, 2, 3, 0)
  return jnp.einsum("bhwd,cd->bhwc", g, kernel)


def _grad_pads(case: Case, shape: tuple[int, ...]) -> list[tuple[int, int]]:
  """Returns the padding of y' [`shape`] that makes it a padded x'."""
  return [
    (k - 1 - before, n + before - 1 - (m - 1) * case.stride)
    for k, n, m, (before, _) in zip(
      case.kernel[:2], case.image[1:3], shape[1:3], case.pads, strict=True
    )
  ]


def _dilate(x: Array, stride: int, pads: list[tuple[int, int]]) -> Array:
  """Moves pixels `stride` apart, with zeros between and around them."""
  if stride == 1 and not np.any(pads):
    return x
  dilations = ((lo, hi, stride - 1) for lo, hi in pads)
  return lax.pad(x, np.zeros((), x.dtype), ((0, 0, 0), *dilations, (0, 0, 0)))


def _kernel_grad(x: Array, g: Array, *, case: Case) -> Array:
  """Returns k' [kh, kw, C, C'] from x and g = y' [B, H', W', C']."""
  lowering, stride, pads = case.roles.kernel_grad, case.stride, case.pads
  window = case.kernel[:2]
  if lowering == "plain":
    # The convolution of the images, with channels and examples swapped, by g.
    unseen = [
      (n + a + b - k) % stride
      for n, k, (a, b) in zip(x.shape[1:3], window, pads, strict=True)
    ]
    grad = lax.conv_general_dilated(
      x.transpose(3, 1, 2, 0),
      g.transpose(1, 2, 0, 3),
      (1, 1),
      [(a, b - extra) for (a, b), extra in zip(pads, unseen, strict=True)],
      rhs_dilation=(stride, stride),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return grad.transpose(1, 2, 0, 3)
  if case.depthwise:
    return _depthwise_kernel_grad(x, g, case)
  slices = _shifts(x, window, stride, pads)
  if lowering == "shift":
    grad = jnp.stack([_outer(cell, g) for cell in slices])
  else:
    grad = _outer(jnp.concatenate(slices, -1), g)
  return grad.reshape(case.kernel)


def _outer(x: Array, g: Array) -> Array:
  """Sums products over all places: [B, H, W, C], [B, H, W, D] -> [C, D]."""
  # XLA transposes the first operand, which should have fewer channels.
  if x.shape[-1] > g.shape[-1]:
    return jnp.einsum("bhwd,bhwc->dc", g, x).T
  return jnp.einsum("bhwc,bhwd->cd", x, g)


def _depthwise_kernel_grad(x: Array, g: Array, case: Case) -> Array:
  """Sums over the examples one by one, so that their slices fit the cache."""

  def add(total: Array, example: tuple[Array, Array]) -> tuple[Array, None]:
    x, g = example
    slices = _shifts(x[None], case.kernel[:2], case.stride, case.pads)
    return total + jnp.stack([(s[0] * g).sum((0, 1)) for s in slices]), None

  start = jnp.zeros((math.prod(case.kernel[:2]), x.shape[-1]), x.dtype)
  return lax.scan(add, start, (x, g))[0].reshape(case.kernel)


def _make_primitive(name: str, fun: Callable[..., Array]) -> Primitive:
  primitive = Primitive(name)
  primitive.def_impl(fun)

  @primitive.def_abstract_eval
  def _(*operands, case):
    out = jax.eval_shape(functools.partial(fun, case=case), *operands)
    return jax.core.ShapedArray(out.shape, out.dtype)

  def batch(operands, axes, *, case):
    # Gradients are taken before this, so the result needs no rules of its own.
    return jax.vmap(functools.partial(fun, case=case), axes)(*operands), 0

  batching.primitive_batchers[primitive] = batch
  mlir.register_lowering(primitive, mlir.lower_fun(fun, multiple_results=False))
  return primitive


_f = _make_primitive("conv", _forward)
_g = _make_primitive("conv_input_grad", _input_grad)
_h = _make_primitive("conv_kernel_grad", _kernel_grad)
# For each operand, its gradient from (cotangent, first and second operand).
ad.defbilinear(
  _f,
  lambda ct, x, k, **case: _g.bind(ct, k, **case),
  lambda ct, x, k, **case: _h.bind(x, ct, **case),
)
ad.defbilinear(
  _g,
  lambda ct, y, k, **case: _f.bind(ct, k, **case),
  lambda ct, y, k, **case: _h.bind(ct, y, **case),
)
ad.defbilinear(
  _h,
  lambda ct, x, y, **case: _g.bind(y, ct, **case),
  lambda ct, x, y, **case: _f.bind(x, ct, **case),
)

# (x [B, H, W, C], kernel [kh, kw, C, C'], case=Case) -> [B, H', W', C']
conv = _f.bind
