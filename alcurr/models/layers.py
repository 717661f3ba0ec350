"""The layers that all networks share.

A network is a Linen module with the fields `num_classes` and `options`,
called as `module(image, train=...)`. It builds its layers with a `Kit`:
convolutions with a choice of lowering, norms, pools and the classifier.
Parameters are float32 in the layout of `flax.linen`, whatever the options.
"""

import dataclasses
import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from alcurr.models import lowerings, pooling
from alcurr.models.lowerings import Padding
from alcurr.types import Array

DTYPES = ("float32", "bfloat16")
NORMS = ("batch", "group")

# The name of every network's classifier.
HEAD = "logits"

# Normal with variance 2 / fan_in (He et al. 2015), for inputs of a ReLU.
he_normal = nn.initializers.he_normal(dtype=jnp.float32)
# Uniform with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010).
glorot_uniform = nn.initializers.glorot_uniform(dtype=jnp.float32)

_zeros = nn.initializers.constant(0, dtype=jnp.float32)
_ones = nn.initializers.constant(1, dtype=jnp.float32)


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
  if value not in known:
    raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def check_blocks(blocks: tuple[int, ...], num_stages: int) -> None:
  """Checks that every stage of a network has a block."""
  if len(blocks) != num_stages or min(blocks) < 1:
    raise ValueError(
      f"blocks must be {num_stages} positive numbers, got {blocks}"
    )


def check_arguments(
  image_shape: tuple[int, int, int],
  min_size: int,
  num_classes: int,
  norm: str,
  norms: tuple[str, ...] = NORMS,
) -> None:
  """Checks the arguments that all networks have."""
  check_choice("norm", norm, norms)
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


class Conv(nn.Module):
  """A 2-D `flax.linen.Conv` with a choice of lowering.

  With `groups=0` it is depthwise: one kernel per channel.
  """

  features: int
  kernel: tuple[int, int]
  stride: int = 1
  padding: Padding = "SAME"
  groups: int = 1
  use_bias: bool = False
  lowering: str = "auto"

  @nn.compact
  def __call__(self, x: Array) -> Array:
    inputs = x.shape[-1]
    groups = self.groups or inputs
    shape = (*self.kernel, inputs // groups, self.features)
    kernel = self.param("kernel", he_normal, shape)
    x = lowerings.conv(
      x,
      kernel.astype(x.dtype),
      stride=self.stride,
      padding=self.padding,
      groups=groups,
      lowering=self.lowering,
    )
    if self.use_bias:
      bias = self.param("bias", _zeros, (self.features,))
      x += bias.astype(x.dtype)[None, None, None]
    return x


class SeparableConv(nn.Module):
  """A depthwise convolution, then a 1x1 convolution; no bias."""

  features: int
  kernel: tuple[int, int]
  stride: int = 1
  lowering: str = "auto"

  @nn.compact
  def __call__(self, x: Array) -> Array:
    inputs = x.shape[-1]
    shape = (*self.kernel, 1, inputs)
    depthwise = self.param("depthwise_kernel", he_normal, shape)
    pointwise = self.param(
      "pointwise_kernel", he_normal, (1, 1, inputs, self.features)
    )
    conv = functools.partial(lowerings.conv, lowering=self.lowering)
    x = conv(x, depthwise.astype(x.dtype), stride=self.stride, groups=inputs)
    return conv(x, pointwise.astype(x.dtype))


class BatchNorm(nn.Module):
  """A `flax.linen.BatchNorm` (Ioffe & Szegedy 2015) with fewer passes.

  It computes x * a + b with one a and one b per channel. The backward pass
  therefore stores nothing of the images' size but x. Statistics are always
  float32.
  """

  train: bool
  momentum: float
  epsilon: float
  use_scale: bool = True

  @nn.compact
  def __call__(self, x: Array) -> Array:
    shape = (x.shape[-1],)
    running_mean, running_var = (
      self.variable("batch_stats", name, jnp.full, shape, value, jnp.float32)
      for name, value in (("mean", 0), ("var", 1))
    )
    if self.train:
      wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
      mean = wide.mean((0, 1, 2))
      var = jnp.maximum(0, (wide * wide).mean((0, 1, 2)) - mean * mean)
      for running, new in ((running_mean, mean), (running_var, var)):
        old = running.value
        running.value = self.momentum * old + (1 - self.momentum) * new
    else:
      mean, var = running_mean.value, running_var.value
    a = jax.lax.rsqrt(var + self.epsilon)
    if self.use_scale:
      a *= self.param("scale", _ones, shape)
    b = self.param("bias", _zeros, shape) - mean * a
    a, b = (c.astype(x.dtype)[None, None, None] for c in (a, b))
    return x * a + b


@dataclasses.dataclass(frozen=True)
class Options:
  """The options that every network has; see `alcurr.models`."""

  norm: str = "batch"
  conv: str = "auto"
  dtype: str = "float32"
  remat: bool = False
  width: float = 1.0

  def __post_init__(self):
    check_choice("conv", self.conv, lowerings.LOWERINGS)
    check_choice("dtype", self.dtype, DTYPES)
    if not 0 < self.width < math.inf:
      raise ValueError(f"width must be positive and finite, got {self.width}")

  def channels(self, channels: int) -> int:
    """Scales channels by the width; rounded down as in Keras, at least 1."""
    return max(1, int(channels * self.width))

  def block(self, module: type[nn.Module]) -> type[nn.Module]:
    """Returns the module, rematerialised in the backward pass if asked."""
    return nn.remat(module) if self.remat else module


@dataclasses.dataclass(frozen=True)
class Kit:
  """Builds the layers of a network within a module's `__call__`.

  Attributes:
    options: the user's options.
    train: whether batch norms use the statistics of the batch.
    epsilon, momentum: those of the batch norms.
  """

  options: Options
  train: bool
  epsilon: float = 1e-3
  momentum: float = 0.99

  def cast(self, image: Array) -> Array:
    """Converts images to the dtype of the arithmetic."""
    return image.astype(self.options.dtype)

  def conv(
    self,
    x: Array,
    features: int,
    kernel: int | tuple[int, int],
    name: str,
    **fields: Any,
  ) -> Array:
    """Applies a `Conv`; `fields` are its stride, padding, groups, use_bias."""
    kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
    lowering = self.options.conv
    return Conv(features, kernel, lowering=lowering, name=name, **fields)(x)

  def separable(
    self, x: Array, features: int, kernel: int, name: str, stride: int
  ) -> Array:
    kernel, lowering = (kernel, kernel), self.options.conv
    return SeparableConv(features, kernel, stride, lowering, name=name)(x)

  def norm(self, x: Array, name: str, use_scale: bool = True) -> Array:
    """Normalises by batch, by group or, for "none", not at all.

    Groups have at least 16 channels (Wu & He 2018). Group norm does not mix
    examples. Statistics are always float32.
    """
    if self.options.norm == "batch":
      return BatchNorm(
        self.train, self.momentum, self.epsilon, use_scale, name=name
      )(x)
    if self.options.norm == "group":
      channels = x.shape[-1]
      return nn.GroupNorm(
        num_groups=math.gcd(channels, max(1, channels // 16)),
        dtype=x.dtype,
        use_scale=use_scale,
        name=name,
      )(x)
    return x

  def max_pool(
    self, x: Array, window: int, stride: int, padding: Padding = "VALID"
  ) -> Array:
    return pooling.max_pool(x, window, stride, padding, self.options.conv)

  def avg_pool(
    self, x: Array, window: int, stride: int, padding: Padding = "VALID"
  ) -> Array:
    return pooling.avg_pool(x, window, stride, padding, self.options.conv)

  def logits(self, x: Array, num_classes: int) -> Array:
    """Applies the classifier: [..., C] -> [..., V] in float32."""
    x = x.astype(jnp.float32)
    return nn.Dense(num_classes, kernel_init=glorot_uniform, name=HEAD)(x)


def mean_of_image(x: Array) -> Array:
  """Averages over the pixels: [B, H, W, C] -> [B, C] float32."""
  return x.mean((1, 2), dtype=jnp.float32)
