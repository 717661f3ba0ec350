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

from alcurr.core.arguments import check_at_least, check_choice
from alcurr.models import lowerings
from alcurr.types import Array

DTYPES = ("float32", "bfloat16")
NORMS = ("batch", "group")
Blocks = tuple[int, int, int, int]  # of four stages

# The name of every network's classifier.
HEAD = "logits"
# The parameters of a network that scores candidates, see `models.scoring`.
SCORER = "scorer"

# Normal with variance 2 / fan_in (He et al. 2015), for inputs of a ReLU.
he_normal = nn.initializers.he_normal(dtype=jnp.float32)
# Uniform with variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010).
glorot_uniform = nn.initializers.glorot_uniform(dtype=jnp.float32)

_zeros = nn.initializers.constant(0, dtype=jnp.float32)
_ones = nn.initializers.constant(1, dtype=jnp.float32)


def check_blocks(blocks: tuple[int, ...], num_stages: int) -> None:
  """Checks that every stage of a network has a block."""
  if len(blocks) != num_stages or min(blocks) < 1:
    raise ValueError(
      f"blocks must be {num_stages} positive numbers, got {blocks}"
    )


def check_arguments(
  input_shape: tuple[int, int, int],
  min_size: int,
  num_classes: int,
  norm: str,
  norms: tuple[str, ...] = NORMS,
) -> None:
  """Checks the arguments that all networks have."""
  check_choice(norms, norm=norm)
  check_at_least(1, num_classes=num_classes)
  is_image = isinstance(input_shape, tuple | list) and len(input_shape) == 3
  if not is_image or min(input_shape) < 1:
    raise ValueError(
      "input_shape must be (height, width, channels), all positive, got "
      f"{input_shape}; for rows see mlp and bag_of_tokens"
    )
  if min(input_shape[:2]) < min_size:
    raise ValueError(
      f"images must be at least {min_size} x {min_size} pixels, got "
      f"{input_shape[0]} x {input_shape[1]}"
    )


class SeparableConv(nn.Module):
  """A depthwise convolution, then a 1x1 convolution; no bias."""

  kit: "Kit"
  features: int
  kernel: int
  stride: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    channels = x.shape[-1]

    def kernel(name: str, *shape: int) -> Array:
      return self.param(f"{name}_kernel", he_normal, shape).astype(x.dtype)

    depthwise = kernel("depthwise", self.kernel, self.kernel, 1, channels)
    pointwise = kernel("pointwise", 1, 1, channels, self.features)
    conv = functools.partial(lowerings.conv, lowering=self.kit.options.conv)
    x = conv(x, depthwise, stride=self.stride, groups=channels)
    return conv(x, pointwise)


class BatchNorm(nn.Module):
  """A `flax.linen.BatchNorm` (Ioffe & Szegedy 2015) with fewer passes.

  It computes x * a + b with one a and one b per channel. The backward pass
  therefore stores nothing of the images' size but x. Statistics are always
  float32.
  """

  kit: "Kit"

  @nn.compact
  def __call__(self, x: Array) -> Array:
    momentum = self.kit.momentum
    shape = (x.shape[-1],)
    running_mean, running_var = (
      self.variable("batch_stats", name, jnp.full, shape, value, jnp.float32)
      for name, value in (("mean", 0), ("var", 1))
    )
    if self.kit.train:
      wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
      mean = wide.mean((0, 1, 2))
      var = jnp.maximum(0, (wide * wide).mean((0, 1, 2)) - mean * mean)
      for running, new in ((running_mean, mean), (running_var, var)):
        old = running.value
        running.value = momentum * old + (1 - momentum) * new
    else:
      mean, var = running_mean.value, running_var.value
    a = jax.lax.rsqrt(var + self.kit.epsilon)
    if self.kit.use_scale:
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
    check_choice(lowerings.LOWERINGS, conv=self.conv)
    check_choice(DTYPES, dtype=self.dtype)
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
  """Builds the layers of a network within a module's `__call__`."""

  options: Options
  train: bool  # whether batch norms use the statistics of the batch
  epsilon: float = 1e-3  # of batch norms
  momentum: float = 0.99  # of their running statistics
  use_scale: bool = True  # whether norms have a scale

  def conv(
    self,
    x: Array,
    features: int,
    kernel: int | tuple[int, int],
    name: str,
    norm: str = "",
    use_bias: bool = False,
    groups: int = 1,
    **how: Any,
  ) -> Array:
    """Applies a `flax.linen.Conv`, and the norm with the name `norm`, if any.

    With `groups=0` it is depthwise. `how` has its stride and padding.
    """
    how |= {"groups": groups or x.shape[-1], "lowering": self.options.conv}
    x = nn.Conv(
      features,
      (kernel, kernel) if isinstance(kernel, int) else kernel,
      feature_group_count=how["groups"],
      use_bias=use_bias,
      dtype=self.options.dtype,
      kernel_init=he_normal,
      conv_general_dilated=lambda x, k, *_, **__: lowerings.conv(x, k, **how),
      name=name,
    )(x)
    return self.norm(x, norm) if norm else x

  def norm(self, x: Array, name: str) -> Array:
    """Normalises by batch, by group or, for "none", not at all.

    Groups have at least 16 channels (Wu & He 2018). Group norm does not mix
    examples. Statistics are always float32.
    """
    if self.options.norm == "batch":
      return BatchNorm(self, name=name)(x)
    if self.options.norm == "group":
      channels = x.shape[-1]
      return nn.GroupNorm(
        num_groups=math.gcd(channels, max(1, channels // 16)),
        dtype=x.dtype,
        use_scale=self.use_scale,
        name=name,
      )(x)
    return x

  def max_pool(self, x: Array, *how: Any) -> Array:
    return lowerings.max_pool(x, *how, lowering=self.options.conv)

  def avg_pool(self, x: Array, *how: Any) -> Array:
    return lowerings.avg_pool(x, *how, lowering=self.options.conv)

  def logits(self, x: Array, num_classes: int) -> Array:
    """Applies the classifier: [..., C] -> [..., V] in float32."""
    return nn.Dense(num_classes, kernel_init=glorot_uniform, name=HEAD)(x)


def mean_of_image(x: Array) -> Array:
  """Averages over the pixels: [B, H, W, C] -> [B, C] float32."""
  return x.mean((1, 2), dtype=jnp.float32)
