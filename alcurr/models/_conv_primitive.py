"""The convolution as a JAX primitive whose gradients have lowerings too.

A convolution y = f(x, k) is linear in x and in k. Its two gradients,
x' = g(y', k) and k' = h(x, y'), are linear as well, and each of the three
functions is the transpose of the others. Three primitives that name each
other as transposes can be differentiated forward and backward, to any order;
`jax.custom_vjp` would refuse forward mode.
"""

import functools
import math
import operator
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

# XLA's own convolution of (x, kernel, strides, padding).
lax_conv = functools.partial(
  lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC")
)


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


def _shifts(x: Array, case: Case) -> list[Array]:
  """Returns the slices of x [B, H, W, C] under each cell of a sliding window.

  Slice i * kw + j holds what cell (i, j) sees from each place [B, H', W', C].
  """
  (kh, kw), stride = case.kernel[:2], case.stride
  if np.any(case.pads):
    x = jnp.pad(x, ((0, 0), *case.pads, (0, 0)))
  height = (x.shape[1] - kh) // stride * stride + 1
  width = (x.shape[2] - kw) // stride * stride + 1
  return [
    x[:, i : i + height : stride, j : j + width : stride]
    for i, j in np.ndindex(kh, kw)
  ]


def _forward(x: Array, kernel: Array, *, case: Case) -> Array:
  lowering, depthwise = case.roles.forward, case.depthwise
  if lowering in ("lax", "plain"):
    strides = (case.stride, case.stride)
    groups = x.shape[-1] if depthwise else 1
    return lax_conv(x, kernel, strides, case.pads, feature_group_count=groups)
  slices = _shifts(x, case)
  taps = kernel.reshape(-1, *kernel.shape[2:])  # [kh * kw, C, C']
  if depthwise:
    taps = taps[:, 0]
  if lowering == "shift":
    if depthwise:
      pairs = zip(slices, taps, strict=True)
      return sum(cell * tap[None, None, None] for cell, tap in pairs)
    return sum(map(operator.matmul, slices, taps))
  patches = jnp.stack(slices, -2)  # [B, H', W', kh * kw, C]
  if depthwise:
    return (patches * taps).sum(-2)
  patches = patches.reshape(*patches.shape[:3], -1)
  return patches @ taps.reshape(-1, taps.shape[-1])


def _input_grad(g: Array, kernel: Array, *, case: Case) -> Array:
  """Returns x' [B, H, W, C] from g = y' [B, H', W', C'] and the kernel."""
  if math.prod(case.kernel[:2]) == 1:
    return _dilate(_times_transposed(g, kernel[0, 0]), case)
  if case.roles.input_grad == "matmul" and not case.depthwise:
    patches = _times_transposed(g, kernel.reshape(-1, kernel.shape[-1]))
    image = jax.ShapeDtypeStruct(case.image, g.dtype)
    transposed = jax.linear_transpose(
      lambda x: jnp.concatenate(_shifts(x, case), -1), image
    )
    return transposed(patches)[0]
  # The transpose of a convolution is a convolution of the dilated gradient
  # with the kernel turned by 180 degrees.
  kernel = kernel[::-1, ::-1]
  if not case.depthwise:
    kernel = kernel.swapaxes(2, 3)
  roles = case.roles._replace(forward=case.roles.input_grad)
  unpadded = case._replace(roles=roles, stride=1, pads=((0, 0), (0, 0)))
  return _forward(_dilate(g, case), kernel, case=unpadded)


def _times_transposed(g: Array, kernel: Array) -> Array:
  """Multiplies [B, H, W, D] by the transpose of [C, D]: [B, H, W, C]."""
  # XLA transposes the second operand, which should be the smaller one.
  if math.prod(g.shape[:3]) < kernel.shape[0]:
    return jnp.einsum("cd,bhwd->cbhw", kernel, g).transpose(1, 2, 3, 0)
  return jnp.einsum("bhwd,cd->bhwc", g, kernel)


def _dilate(g: Array, case: Case) -> Array:
  """Moves the pixels of y' `stride` apart, padded by zeros to a padded x'."""
  spread = [
    (k - 1 - lo, n + lo - 1 - (m - 1) * case.stride, case.stride - 1)
    for k, n, m, (lo, _) in zip(
      case.kernel[:2], case.image[1:3], g.shape[1:3], case.pads, strict=True
    )
  ]
  if not np.any(spread):
    return g
  return lax.pad(g, np.zeros((), g.dtype), ((0, 0, 0), *spread, (0, 0, 0)))


def _kernel_grad(x: Array, g: Array, *, case: Case) -> Array:
  """Returns k' [kh, kw, C, C'] from x and g = y' [B, H', W', C']."""
  if case.roles.kernel_grad == "plain":
    # The convolution of the images, with channels and examples swapped, by g.
    # Pixels that the last place does not reach are cut off.
    pads = [
      (a, b - (n + a + b - k) % case.stride)
      for n, k, (a, b) in zip(
        x.shape[1:3], case.kernel[:2], case.pads, strict=True
      )
    ]
    x, g = x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3)
    strides = (case.stride, case.stride)
    grad = lax_conv(x, g, (1, 1), pads, rhs_dilation=strides)
    return grad.transpose(1, 2, 0, 3)
  if case.depthwise:

    def add(total: Array, example: tuple[Array, Array]) -> tuple[Array, None]:
      x, g = example
      slices = _shifts(x[None], case)
      return total + jnp.stack([(s[0] * g).sum((0, 1)) for s in slices]), None

    # One by one, so that the slices of an example fit the cache.
    start = jnp.zeros((math.prod(case.kernel[:2]), x.shape[-1]), x.dtype)
    return lax.scan(add, start, (x, g))[0].reshape(case.kernel)
  slices = _shifts(x, case)
  if case.roles.kernel_grad == "shift":
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
