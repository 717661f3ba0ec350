"""Layers whose lowering is chosen by the backend.

XLA's convolutions are right on a GPU or TPU and slow on a CPU, above all in
the body of a loop and in the gradient of a depthwise convolution (jax#12868,
jax#13800). So each operation has two lowerings with the same parameters:

  lax     what XLA has: `conv_general_dilated`, `reduce_window`
  matmul  what a CPU is good at: a 1x1 convolution is a matrix product, a
          larger one is a product over k*k shifted copies laid side by side
          (im2col), a depthwise one is k*k shifted multiply-adds, and pooling
          is the maximum over two axes of a reshaped image

"auto" is matmul on a CPU and lax elsewhere. Parameters are float32 in the
layout of `flax.linen.Conv`, whatever the lowering; the arithmetic is in the
type of the input.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from alcurr.types import Array, Model, PyTree

LOWERINGS = ("auto", "lax", "matmul")
NORMS = ("none", "batch", "group")

# Normal with variance 2 / fan_in (He et al. 2015): layers that feed a ReLU.
he_normal = nn.initializers.he_normal()
# Uniform with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010): logits.
glorot_uniform = nn.initializers.glorot_uniform()


def _by_matmul(lowering: str) -> bool:
  """Whether `lowering` means matmul on the backend that runs this."""
  if lowering == "auto":
    return jax.default_backend() == "cpu"
  return lowering == "matmul"


def _shifts(
  x: Array, window: tuple[int, int], stride: int, padding: str
) -> list[Array]:
  """The k*k slices of x [B, H, W, C] that a sliding window sees.

  Slice i * kw + j holds what cell (i, j) of the window sees from each place:
  [B, H', W', C], with TensorFlow's "SAME" or "VALID" H' and W'.
  """
  pads = lax.padtype_to_pads(x.shape[1:3], window, (stride, stride), padding)
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


def conv(
  x: Array, kernel: Array, *, stride: int, padding: str, lowering: str
) -> Array:
  """Convolution of x [B, H, W, C] with kernel [kh, kw, C, C'].

  Args:
    x: images.
    kernel: HWIO.
    stride: of both axes.
    padding: "SAME" or "VALID", as TensorFlow's.
    lowering: "auto", "lax" or "matmul".

  Returns:
    [B, H', W', C'].
  """
  if not _by_matmul(lowering):
    return lax.conv_general_dilated(
      x,
      kernel,
      (stride, stride),
      padding,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
  patches = jnp.concatenate(
    _shifts(x, kernel.shape[:2], stride, padding), axis=-1
  )
  return patches @ kernel.reshape(-1, kernel.shape[-1])


def depthwise_conv(
  x: Array, kernel: Array, *, stride: int, padding: str, lowering: str
) -> Array:
  """Convolution of each channel of x [B, H, W, C] with its own kernel.

  Arguments as for `conv`, kernel [kh, kw, 1, C]. Returns [B, H', W', C].
  """
  if not _by_matmul(lowering):
    return lax.conv_general_dilated(
      x,
      kernel,
      (stride, stride),
      padding,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=x.shape[-1],
    )
  taps = kernel.reshape(-1, kernel.shape[-1])
  shifts = _shifts(x, kernel.shape[:2], stride, padding)
  return sum(shift * tap for shift, tap in zip(shifts, taps, strict=True))


def max_pool(x: Array, *, window: int, lowering: str) -> Array:
  """Largest of each window x window cell: [B, H, W, C] -> [B, H', W', C].

  The windows do not overlap; a row or column that fills none is left out.
  """
  if not _by_matmul(lowering):
    return nn.max_pool(x, (window, window), (window, window))
  rows, columns = x.shape[1] // window, x.shape[2] // window
  x = x[:, : rows * window, : columns * window]
  x = x.reshape(x.shape[0], rows, window, columns, window, x.shape[-1])
  return x.max((2, 4))


class Conv(nn.Module):
  """`flax.linen.Conv` on square kernels, with a choice of lowering."""

  features: int
  kernel: int
  stride: int = 1
  padding: str = "SAME"
  use_bias: bool = True
  lowering: str = "auto"

  @nn.compact
  def __call__(self, x: Array) -> Array:
    shape = (self.kernel, self.kernel, x.shape[-1], self.features)
    kernel = self.param("kernel", he_normal, shape)
    x = conv(
      x,
      kernel.astype(x.dtype),
      stride=self.stride,
      padding=self.padding,
      lowering=self.lowering,
    )
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros, (self.features,))
      x += bias.astype(x.dtype)
    return x


class DepthwiseConv(nn.Module):
  """A square kernel for each channel, without bias; a choice of lowering."""

  kernel: int
  stride: int = 1
  padding: str = "SAME"
  lowering: str = "auto"

  @nn.compact
  def __call__(self, x: Array) -> Array:
    shape = (self.kernel, self.kernel, 1, x.shape[-1])
    kernel = self.param("kernel", he_normal, shape)
    return depthwise_conv(
      x,
      kernel.astype(x.dtype),
      stride=self.stride,
      padding=self.padding,
      lowering=self.lowering,
    )


def make_norm(kind: str, *, train: bool, name: str) -> Callable[[Array], Array]:
  """The normalisation that a model's `norm` names, for use in its `__call__`.

  "batch" has Keras's constants; "group" has groups of at least 16 channels
  (Wu & He 2018) and does not mix examples; "none" is the identity.
  """
  if kind == "batch":
    return nn.BatchNorm(
      use_running_average=not train, momentum=0.99, epsilon=1e-3, name=name
    )
  if kind == "group":
    return lambda x: nn.GroupNorm(
      num_groups=math.gcd(x.shape[-1], max(1, x.shape[-1] // 16)), name=name
    )(x)
  return lambda x: x


def scaled(channels: int, width: float) -> int:
  """Channels at a width multiplier, rounded down as Keras does; at least 1."""
  return max(1, int(channels * width))


def check_arguments(
  *,
  image_shape: tuple[int, int, int],
  min_size: int,
  num_classes: int,
  width: float,
  norm: str,
  norms: tuple[str, ...],
  lowering: str,
) -> None:
  """Raises ValueError where a model's arguments are out of range."""
  if len(image_shape) != 3 or min(image_shape) < 1:
    raise ValueError(
      "image_shape must be (height, width, channels), all positive, got "
      f"{image_shape}"
    )
  if min(image_shape[:2]) < min_size:
    raise ValueError(
      f"images must be at least {min_size} x {min_size} pixels, got "
      f"{image_shape[0]} x {image_shape[1]}"
    )
  if num_classes < 2:
    raise ValueError(f"num_classes must be at least 2, got {num_classes}")
  if not 0 < width < math.inf:
    raise ValueError(f"width must be positive and finite, got {width}")
  if norm not in norms:
    raise ValueError(f"norm must be one of {', '.join(norms)}, got {norm!r}")
  if lowering not in LOWERINGS:
    raise ValueError(
      f"lowering must be one of {', '.join(LOWERINGS)}, got {lowering!r}"
    )


def from_linen(module: nn.Module, image_shape: tuple[int, int, int]) -> Model:
  """A Linen module, called as `module(image, train=...)`, as a `Model`.

  Args:
    module: from image [B, H, W, C] to logits [B, V].
    image_shape: (H, W, C).

  Returns:
    A model whose state holds every collection but the parameters, {} if there
    is none; train mode updates it, eval mode returns it as it came.
  """

  def init(key: Array) -> tuple[PyTree, PyTree]:
    image = jnp.zeros((1, *image_shape))
    variables = dict(module.init({"params": key}, image, train=False))
    return variables.pop("params"), variables

  def apply(
    key: Array,
    params: PyTree,
    model_state: PyTree,
    image: Array,
    *,
    train: bool,
  ) -> tuple[Array, PyTree]:
    logits, changed = module.apply(
      {"params": params, **model_state},
      image,
      train=train,
      rngs={"dropout": key},
      mutable=list(model_state) if train else [],
    )
    return logits.astype(jnp.float32), {**model_state, **changed}

  return Model(init, apply)
