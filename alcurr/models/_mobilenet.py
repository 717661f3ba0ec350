"""MobileNet (v1): depthwise separable convolutions.

Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for
Mobile Vision Applications", arXiv:1704.04861, table 1. Layers are named and
normalised as in Keras.

  layer                       channels at width 1   size from 224   from 28
  conv 3x3 /2                 32                    112             14
  blocks 1 to 13, see BLOCKS  64 to 1024            112 to 7        14 to 1
  average over the image, dropout, dense V

A block is a 3x3 depthwise convolution with the stride, a norm, a ReLU capped
at 6, a 1x1 convolution to the channels, a norm and another such ReLU.

Padding is "SAME", as in the authors' TensorFlow code. Keras pads only below
and to the right. The two agree where a stride meets an even size, which is
everywhere in images of a multiple of 32 pixels.
"""

import flax.linen as nn

from alcurr.models import imagenet, layers
from alcurr.types import Array

# The smallest size that each of the five strides still reduces.
MIN_SIZE = 17

# (channels at width 1, stride) of blocks 1 to 13.
BLOCKS = (
  *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
  *[(512, 1)] * 5,
  *((1024, 2), (1024, 1)),
)

SOURCES = (
  imagenet.Source(
    name="Keras's MobileNet",
    file="mobilenet_1_0_224_tf_no_top.h5",
    head="conv_preds",
  ),
)


class Block(nn.Module):
  """A depthwise 3x3 convolution, then a 1x1 one."""

  kit: layers.Kit
  channels: int
  stride: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    kit, number = self.kit, self.name.removeprefix("block_")
    names = f"conv_dw_{number}", f"conv_dw_{number}_bn"
    x = kit.conv(x, x.shape[-1], 3, *names, groups=0, stride=self.stride)
    channels = kit.options.channels(self.channels)
    names = f"conv_pw_{number}", f"conv_pw_{number}_bn"
    return nn.relu6(kit.conv(nn.relu6(x), channels, 1, *names))


class MobileNet(nn.Module):
  num_classes: int
  options: layers.Options
  dropout: float

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    kit = layers.Kit(self.options, train)
    channels = self.options.channels(32)
    x = nn.relu6(kit.conv(x, channels, 3, "conv1", "conv1_bn", stride=2))
    block = self.options.block(Block)
    for i, (channels, stride) in enumerate(BLOCKS, start=1):
      x = block(kit, channels, stride, name=f"block_{i}")(x)
    dropout = nn.Dropout(self.dropout, deterministic=not train)
    x = dropout(layers.mean_of_image(x))
    return kit.logits(x, self.num_classes)


@imagenet.factory(MIN_SIZE, *SOURCES)
def mobilenet(
  num_classes: int, options: layers.Options, dropout: float = 1e-3
) -> nn.Module:
  """Builds MobileNet v1.

  Training drops the share `dropout` of the averaged features, in [0, 1). The
  default is Keras's.
  """
  if not 0 <= dropout < 1:
    raise ValueError(f"dropout must be in [0, 1), got {dropout}")
  return MobileNet(num_classes, options, dropout)
