"""SE-ResNeXt-50 (32x4d): grouped bottlenecks that weigh their channels.

Xie et al. 2017, "Aggregated Residual Transformations for Deep Neural
Networks", arXiv:1611.05431, table 1, with the squeeze-and-excitation of Hu et
al. 2018, "Squeeze-and-Excitation Networks", arXiv:1709.01507, table 1; padded
and normalised as in timm.

  layer          stride   channels at width 1   size from 224   from 64
  conv 7x7       2        64                    112             32
  max-pool 3x3   2        64                    56              16
  stage 1, x 3   1        128, 128, 256         56              16
  stage 2, x 4   2        256, 256, 512         28              8
  stage 3, x 6   2        512, 512, 1024        14              4
  stage 4, x 3   2        1024, 1024, 2048      7               2
  average over the image, dense V

A block is x + se(f(x)), then a ReLU; f is a 1x1 convolution, a 3x3 one in 32
groups of channels with the stride, and a 1x1, a norm after each and a ReLU
between. se multiplies each channel by a gate: the average over the image, a
dense layer to a 16th of the channels, a ReLU, a dense layer back, a sigmoid.
The first block of a stage brings x to shape by a 1x1 convolution and a norm
of its own.
"""

import flax.linen as nn
import jax

from alcurr.models import checks, imagenet, layers
from alcurr.types import Array, Model

# The smallest size that every one of the five strides still shrinks.
MIN_SIZE = 17
GROUPS = 32

# The stem's max-pool: windows about the even pixels; or, in the release for
# Caffe, from them on, the last beyond the image.
_CENTRED, _CEILED = ((1, 1), (1, 1)), "ceil"


class Block(nn.Module):
  """A block of `channels`, `channels` in groups, and `features`."""

  kit: layers.Kit
  channels: int
  features: int
  stride: int
  project: bool  # whether the shortcut is a convolution

  @nn.compact
  def __call__(self, x: Array) -> Array:
    kit = self.kit
    shortcut = x
    if self.project:
      shortcut = kit.conv(
        x, self.features, 1, "downsample_conv", stride=self.stride
      )
      shortcut = kit.norm(shortcut, "downsample_bn")
    x = kit.conv(x, self.channels, 1, "conv1")
    x = nn.relu(kit.norm(x, "bn1"))
    x = kit.conv(
      x,
      self.channels,
      3,
      "conv2",
      stride=self.stride,
      padding=((1, 1), (1, 1)),
      groups=GROUPS,
    )
    x = nn.relu(kit.norm(x, "bn2"))
    x = kit.norm(kit.conv(x, self.features, 1, "conv3"), "bn3")
    gate = x.mean((1, 2), keepdims=True)
    reduced = max(1, self.features // 16)
    gate = nn.relu(kit.conv(gate, reduced, 1, "se_fc1", use_bias=True))
    gate = kit.conv(gate, self.features, 1, "se_fc2", use_bias=True)
    return nn.relu(shortcut + x * jax.nn.sigmoid(gate))


class SEResNeXt(nn.Module):
  num_classes: int
  options: layers.Options
  blocks: tuple[int, int, int, int]
  pool_padding: layers.Padding

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    kit = layers.Kit(self.options, train, epsilon=1e-5, momentum=0.9)
    x = kit.conv(
      kit.start(x),
      self.options.channels(64),
      7,
      "conv1",
      stride=2,
      padding=((3, 3), (3, 3)),
    )
    x = nn.relu(kit.norm(x, "bn1"))
    x = kit.max_pool(x, 3, 2, padding=self._pool_padding(x.shape))
    block = self.options.block(Block)
    # Every group has the same number of channels at any width.
    channels = GROUPS * self.options.channels(4)
    features = self.options.channels(256)
    for stage, num_blocks in enumerate(self.blocks):
      for i in range(num_blocks):
        x = block(
          kit,
          channels * 2**stage,
          features * 2**stage,
          stride=2 if stage and not i else 1,
          project=not i,
          name=f"stage{stage + 1}_block{i}",
        )(x)
    return kit.logits(layers.mean_of_image(x), self.num_classes)

  def _pool_padding(self, shape):
    if self.pool_padding != _CEILED:
      return self.pool_padding
    # A window begins at every even pixel but the last of an odd size.
    return tuple((0, 1 - n % 2) for n in shape[1:3])


def _timm_layer(path: tuple[str, ...]) -> str:
  """stage1_block0/downsample_conv -> layer1.0.downsample.0"""
  *block, layer = path
  prefix = "".join(block).replace("stage", "layer").replace("_block", ".")
  layer = {
    "downsample_conv": "downsample.0",
    "downsample_bn": "downsample.1",
    "se_fc1": "se.fc1",
    "se_fc2": "se.fc2",
  }.get(layer, layer)
  return f"{prefix}.{layer}" if prefix else layer


def _legacy_layer(path: tuple[str, ...]) -> str:
  """As `_timm_layer`, but layer0.conv1 and layer1.0.se_module.fc1."""
  layer = _timm_layer(path).replace(".se.", ".se_module.")
  return layer if len(path) > 1 else f"layer0.{layer}"


_TIMM = imagenet.Source(
  name="timm's seresnext50_32x4d",
  file="model.safetensors",
  layer=_timm_layer,
  head="fc",
  preprocessing="torch",
)
# The release for Caffe, ported by Cadene.
_LEGACY = _TIMM._replace(
  name="timm's legacy_seresnext50_32x4d",
  layer=_legacy_layer,
  head="last_linear",
)
SOURCES = (_TIMM, _LEGACY)


def se_resnext50_32x4d(
  *,
  image_shape: tuple[int, int, int],
  num_classes: int,
  width: float = 1.0,
  blocks: tuple[int, int, int, int] = (3, 4, 6, 3),
  norm: str = "batch",
  conv: str = "auto",
  dtype: str = "float32",
  remat: bool = False,
  weights: str = "",
  one_channel: str = "sum",
) -> Model:
  """SE-ResNeXt-50 of 32 groups of 4 channels, at any width, depth and size.

  Arguments as of every network, see `alcurr.models`; images of at least 17 x
  17 pixels. Weights of timm's legacy port come with its own max-pool.

  Args:
    blocks: of the four stages.

  Raises:
    ValueError: an argument out of range, or weights that do not fit.
  """
  checks.check_arguments(
    image_shape=image_shape,
    min_size=MIN_SIZE,
    num_classes=num_classes,
    norm=norm,
  )
  checks.check_blocks(blocks, 4)
  options = layers.Options(norm, conv, dtype, remat, width)
  legacy = bool(weights) and imagenet.source_of(weights, SOURCES) is _LEGACY
  module = SEResNeXt(
    num_classes, options, tuple(blocks), _CEILED if legacy else _CENTRED
  )
  return imagenet.make_model(module, image_shape, SOURCES, weights, one_channel)
