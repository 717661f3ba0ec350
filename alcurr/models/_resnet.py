"""ResNet-50: bottleneck blocks around identity shortcuts.

He et al. 2015, "Deep Residual Learning for Image Recognition",
arXiv:1512.03385, table 1. Layers are named and normalised as in Keras. Each
convolution has a bias although a norm follows, as in the authors' release.

  layer          stride   channels at width 1   size from 224   from 64
  conv1 7x7      2        64                    112             32
  max-pool 3x3   2        64                    56              16
  conv2, x 3     1        64, 64, 256           56              16
  conv3, x 4     2        128, 128, 512         28              8
  conv4, x 6     2        256, 256, 1024        14              4
  conv5, x 3     2        512, 512, 2048        7               2
  average over the image, dense V

A block is x + f(x), then a ReLU; f is a 1x1, a 3x3 and a 1x1 convolution, each
followed by a norm, with ReLUs between. The first block of a stage has its
stride in the first 1x1 convolution. It projects x with another 1x1 convolution
and norm.

ResNet-101 has 3, 4, 23, 3 blocks and ResNet-152 has 3, 8, 36, 3.
"""

import flax.linen as nn

from alcurr.models import imagenet, layers, lowerings
from alcurr.models.layers import Blocks
from alcurr.types import Array

# The smallest size that each of the five strides still reduces.
MIN_SIZE = 17

SOURCES = (
  imagenet.Source(
    name="Keras's ResNet50",
    file="resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    preprocessing="caffe",
  ),
)


class Block(nn.Module):
  """A block with `channels`, `channels` and 4 x `channels`."""

  kit: layers.Kit
  channels: int
  stride: int
  project: bool  # whether the shortcut is a convolution

  @nn.compact
  def __call__(self, x: Array) -> Array:
    def conv(x: Array, i: int, channels: int, kernel: int, stride: int = 1):
      names = f"{self.name}_{i}_conv", f"{self.name}_{i}_bn"
      return self.kit.conv(x, channels, kernel, *names, True, stride=stride)

    shortcut = x
    if self.project:
      shortcut = conv(x, 0, 4 * self.channels, 1, self.stride)
    x = nn.relu(conv(x, 1, self.channels, 1, self.stride))
    x = nn.relu(conv(x, 2, self.channels, 3))
    x = shortcut + conv(x, 3, 4 * self.channels, 1)
    return lowerings.stored(nn.relu(x))


class ResNet(nn.Module):
  num_classes: int
  options: layers.Options
  blocks: Blocks

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    kit = layers.Kit(self.options, train, epsilon=1.001e-5)
    how = {"use_bias": True, "stride": 2, "padding": ((3, 3), (3, 3))}
    channels = self.options.channels(64)
    x = kit.conv(x, channels, 7, "conv1_conv", "conv1_bn", **how)
    x = kit.max_pool(nn.relu(x), 3, 2, ((1, 1), (1, 1)))
    block = self.options.block(Block)
    for stage, num_blocks in enumerate(self.blocks):
      for i in range(num_blocks):
        title = f"conv{stage + 2}_block{i + 1}"
        channels = self.options.channels(64 * 2**stage)
        stride = 2 if stage and not i else 1
        x = block(kit, channels, stride, not i, name=title)(x)
    return kit.logits(layers.mean_of_image(x), self.num_classes)


@imagenet.factory(MIN_SIZE, *SOURCES)
def resnet50(
  num_classes: int, options: layers.Options, blocks: Blocks = (3, 4, 6, 3)
) -> nn.Module:
  """Builds a ResNet with `blocks` blocks in the four stages."""
  layers.check_blocks(blocks, 4)
  return ResNet(num_classes, options, tuple(blocks))
