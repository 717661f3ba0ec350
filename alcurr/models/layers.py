"""The pieces that the networks are made of, and what all of them share.

A network is a Linen module with the fields `num_classes` and `options`,
called as `module(image, train=...)`, and it takes its pieces from a `Kit`:
convolutions with a choice of lowering, norms, pools, the classifier.
Parameters are float32 in the layout of `flax.linen`, whatever the options.
"""

import dataclasses
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from alcurr.models import checks, lowerings, pools
from alcurr.models.lowerings import Padding
from alcurr.types import Array

DTYPES = ("float32", "bfloat16")

# The name of every network's classifier.
HEAD = "logits"

# Normal with variance 2 / fan_in (He et al. 2015): layers that feed a ReLU.
he_normal = nn.initializers.he_normal()
# Uniform with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010): logits.
glorot_uniform = nn.initializers.glorot_uniform()


class Conv(nn.Module):
  """`flax.linen.Conv` on two image axes, with a choice of lowering.

  `groups=0` is depthwise: a kernel for each channel.
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
      bias = self.param("bias", nn.initializers.zeros, (self.features,))
      x += bias.astype(x.dtype)
    return x


class SeparableConv(nn.Module):
  """A kernel for each channel, then a 1x1 convolution; no bias."""

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
  """`flax.linen.BatchNorm` with fewer passes over the images.

  (Ioffe & Szegedy 2015.) Normalised as x * a + b with a and b of each channel,
  so that a step keeps nothing of the size of the images but x itself.
  Statistics are float32 in any type.
  """

  train: bool
  momentum: float
  epsilon: float
  use_scale: bool = True

  @nn.compact
  def __call__(self, x: Array) -> Array:
    shape = (x.shape[-1],)
    zeros, ones = nn.initializers.zeros, nn.initializers.ones
    running_mean = self.variable(
      "batch_stats", "mean", lambda: jnp.zeros(shape)
    )
    running_var = self.variable("batch_stats", "var", lambda: jnp.ones(shape))
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
      a *= self.param("scale", ones, shape)
    b = self.param("bias", zeros, shape) - mean * a
    return x * a.astype(x.dtype) + b.astype(x.dtype)


@dataclasses.dataclass(frozen=True)
class Options:
  """What a user chooses of any network; see `alcurr.models`."""

  norm: str = "batch"
  conv: str = "auto"
  dtype: str = "float32"
  remat: bool = False
  width: float = 1.0

  def __post_init__(self):
    checks.check_choice("conv", self.conv, lowerings.LOWERINGS)
    checks.check_choice("dtype", self.dtype, DTYPES)
    if not 0 < self.width < math.inf:
      raise ValueError(f"width must be positive and finite, got {self.width}")

  def channels(self, channels: int) -> int:
    """Channels at the width, rounded down as Keras does; at least 1."""
    return max(1, int(channels * self.width))

  def block(self, module: type[nn.Module]) -> type[nn.Module]:
    """The module, its forward pass done again in the backward pass if asked."""
    return nn.remat(module) if self.remat else module


@dataclasses.dataclass(frozen=True)
class Kit:
  """The pieces of a network, for use within a module's `__call__`.

  Attributes:
    options: the user's.
    train: whether a batch norm takes the batch's statistics.
    epsilon, momentum: of the batch norms.
  """

  options: Options
  train: bool
  epsilon: float = 1e-3
  momentum: float = 0.99

  def start(self, x: Array) -> Array:
    """The images in the type of the arithmetic."""
    return x.astype(self.options.dtype)

  def conv(
    self,
    x: Array,
    features: int,
    kernel: int | tuple[int, int],
    name: str,
    *,
    stride: int = 1,
    padding: Padding = "SAME",
    groups: int = 1,
    use_bias: bool = False,
  ) -> Array:
    square = (kernel, kernel) if isinstance(kernel, int) else kernel
    return Conv(
      features,
      square,
      stride,
      padding,
      groups,
      use_bias,
      self.options.conv,
      name=name,
    )(x)

  def depthwise(self, x: Array, kernel: int, name: str, stride: int) -> Array:
    return self.conv(x, x.shape[-1], kernel, name, stride=stride, groups=0)

  def separable(
    self, x: Array, features: int, kernel: int, name: str, stride: int
  ) -> Array:
    return SeparableConv(
      features, (kernel, kernel), stride, self.options.conv, name=name
    )(x)

  def norm(self, x: Array, name: str, use_scale: bool = True) -> Array:
    """Batch norm; or group norm, of groups of at least 16 channels (Wu & He
    2018), which does not mix examples; or, for "none", nothing.

    Statistics are float32 in any type.
    """
    kind = self.options.norm
    if kind == "batch":
      return BatchNorm(
        self.train, self.momentum, self.epsilon, use_scale, name=name
      )(x)
    if kind == "group":
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
    return pools.max_pool(
      x,
      window=window,
      stride=stride,
      padding=padding,
      lowering=self.options.conv,
    )

  def avg_pool(
    self, x: Array, window: int, stride: int, padding: Padding = "VALID"
  ) -> Array:
    return pools.avg_pool(
      x,
      window=window,
      stride=stride,
      padding=padding,
      lowering=self.options.conv,
    )

  def logits(self, x: Array, num_classes: int) -> Array:
    """The classifier: [..., C] -> [..., V] in float32."""
    return nn.Dense(num_classes, kernel_init=glorot_uniform, name=HEAD)(
      x.astype(jnp.float32)
    )

  def dropout(self, x: Array, rate: float) -> Array:
    return nn.Dropout(rate, deterministic=not self.train)(x)


def mean_of_image(x: Array) -> Array:
  """[B, H, W, C] -> [B, C] float32."""
  return x.mean((1, 2), dtype=jnp.float32)
