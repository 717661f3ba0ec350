"""SE-ResNeXt-50 (32x4d): grouped bottlenecks with gated channels.

Xie et al. 2017, "Aggregated Residual Transformations for Deep Neural
Networks", arXiv:1611.05431, table 1, with the squeeze-and-excitation of Hu et
al. 2018, "Squeeze-and-Excitation Networks", arXiv:1709.01507, table 1. Layers
are padded and normalised as in timm.

  layer          stride   channels at width 1   size from 224   from 64
  conv 7x7       2        64                    112             32
  max-pool 3x3   2        64                    56              16
  stage 1, x 3   1        128, 128, 256         56              16
  stage 2, x 4   2        256, 256, 512         28              8
  stage 3, x 6   2        512, 512, 1024        14              4
  stage 4, x 3   2        1024, 1024, 2048      7               2
  average over the image, dense V

A block is x + se(f(x)), then a ReLU; f is a 1x1 convolution, a 3x3 one in 32
groups of channels with the stride, and a 1x1 one, each followed by a norm, with
ReLUs between. se multiplies each channel by a gate: the average over the image,
a dense layer to a 16th of the channels, a ReLU, a dense layer back, a sigmoid.
The first block of a stage projects x with a 1x1 convolution and a norm.
"""

import flax.linen as nn
import jax

from alcurr.models import imagenet, layers, lowerings
from alcurr.models.layers import Blocks
from alcurr.types import Array

# The smallest size that each of the five strides still reduces.
MIN_SIZE = 17
GROUPS = 32


class Block(nn.Module):
  """A block with `channels`, `channels` in groups, and `features`."""

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
      names = "downsample_conv", "downsample_bn"
      shortcut = kit.conv(x, self.features, 1, *names, stride=self.stride)
    x = nn.relu(kit.conv(x, self.channels, 1, "conv1", "bn1"))
    how = {"stride": self.stride, "padding": ((1, 1), (1, 1))}
    x = kit.conv(x, self.channels, 3, "conv2", "bn2", groups=GROUPS, **how)
    x = kit.conv(nn.relu(x), self.features, 1, "conv3", "bn3")
    gate = x.mean((1, 2), keepdims=True)
    reduced = max(1, self.features // 16)
    gate = nn.relu(kit.conv(gate, reduced, 1, "se_fc1", use_bias=True))
    gate = kit.conv(gate, self.features, 1, "se_fc2", use_bias=True)
    return lowerings.stored(nn.relu(shortcut + x * jax.nn.sigmoid(gate)))


class SEResNeXt(nn.Module):
  num_classes: int
  options: layers.Options
  blocks: Blocks
  # Whether the windows of the max-pool start at the even pixels, the last one
  # beyond the image, as in the release for Caffe; else they are centred there.
  ceil_pool: bool = False

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    kit = layers.Kit(self.options, train, epsilon=1e-5, momentum=0.9)
    how = {"stride": 2, "padding": ((3, 3), (3, 3))}
    x = kit.conv(x, self.options.channels(64), 7, "conv1", "bn1", **how)
    padding = ((1, 1), (1, 1))
    if self.ceil_pool:  # the last pixel of an odd size starts no window
      padding = tuple((0, 1 - n % 2) for n in x.shape[1:3])
    x = kit.max_pool(nn.relu(x), 3, 2, padding)
    block = self.options.block(Block)
    # Rounded so that all groups have the same number of channels.
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


_TIMM_NAMES = {
  "stage": "layer",
  "_block": ".",
  "downsample_conv": "downsample.0",
  "downsample_bn": "downsample.1",
  "se_": "se.",
}


def _timm_layer(path: tuple[str, ...]) -> str:
  """Maps stage1_block0/downsample_conv to layer1.0.downsample.0."""
  name = ".".join(path)
  for ours, theirs in _TIMM_NAMES.items():
    name = name.replace(ours, theirs)
  return name


def _legacy_layer(path: tuple[str, ...]) -> str:
  """Maps as `_timm_layer`, but to layer0.conv1 and layer1.0.se_module.fc1."""
  layer = _timm_layer(path).replace(".se.", ".se_module.")
  return layer if len(path) > 1 else f"layer0.{layer}"


_TIMM = imagenet.Source(
  name="timm's seresnext50_32x4d",
  file="model.safetensors",
  layer=_timm_layer,
  head="fc",
  preprocessing="torch",
)
# The authors' release for Caffe, ported to PyTorch by Remi Cadene.
_LEGACY = _TIMM._replace(
  name="timm's legacy_seresnext50_32x4d",
  layer=_legacy_layer,
  head="last_linear",
  fields={"ceil_pool": True},
)
SOURCES = (_TIMM, _LEGACY)


@imagenet.factory(MIN_SIZE, *SOURCES)
def se_resnext50_32x4d(
  num_classes: int, options: layers.Options, blocks: Blocks = (3, 4, 6, 3)
) -> nn.Module:
  """Builds SE-ResNeXt-50 (32x4d) with `blocks` blocks in the four stages.

  Weights of timm's legacy port come with its max-pool.
  """
  layers.check_blocks(blocks, 4)
  return SEResNeXt(num_classes, options, tuple(blocks))
