"""Inception-ResNet-v2: residual blocks of parallel branches.

Szegedy et al. 2016, "Inception-v4, Inception-ResNet and the Impact of
Residual Connections on Learning", arXiv:1602.07261, figures 3 and 16 to 19,
with the sizes of the authors' TensorFlow release. Layers that have a name in
Keras have the same here.

  layer                                          size from 299   from 75
  stem: 3x3 32 /2, 3x3 32, 3x3 64 same, pool /2  73              17
        1x1 80, 3x3 192, pool /2                 35              7
  mixed_5b, with the pool mean, 1x1 64           35 x 320        7
  block35, x 10, scale 0.17                      35 x 320        7
  mixed_6a /2                                    17 x 1088       3
  block17, x 20, scale 0.1                       17 x 1088       3
  mixed_7a /2                                    8 x 2080        1
  block8, x 10, scale 0.2 (the last 1)           8 x 2080        1
  conv_7b: 1x1 1536                              8               1
  average over the image, dense V

A convolution has no bias and is followed by a norm without scale and a ReLU.
Pools are 3x3. Layers with a stride are not padded. A block is
x + scale * f(x), then a ReLU, except after the last block. f concatenates its
branches (see BLOCKS) and projects them to the channels of x by a 1x1
convolution with bias and no norm. A mixed layer concatenates its branches (see
MIXED) and a pool.
"""

import flax.linen as nn
import jax.numpy as jnp

from alcurr.models import imagenet, layers, lowerings
from alcurr.types import Array

# The smallest size of which the unpadded strides leave a pixel.
MIN_SIZE = 75

# A sequence of (channels, kernel); a stride is that of the last convolution.
Branch = tuple[tuple[int, int | tuple[int, int]], ...]

BLOCKS: dict[str, tuple[Branch, ...]] = {
  "block35": (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3))),
  "block17": (((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1)))),
  "block8": (((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1)))),
}
SCALES = {"block35": 0.17, "block17": 0.1, "block8": 0.2}
MIXED: dict[str, tuple[Branch, ...]] = {
  "mixed_5b": (((96, 1),), ((48, 1), (64, 5)), ((64, 1), (96, 3), (96, 3))),
  "mixed_6a": (((384, 3),), ((256, 1), (256, 3), (384, 3))),
  "mixed_7a": (
    ((256, 1), (384, 3)),
    ((256, 1), (288, 3)),
    ((256, 1), (288, 3), (320, 3)),
  ),
}


def _keras_layer(path: tuple[str, ...]) -> str | None:
  """Returns Keras's name of a layer, None if it has none."""
  return path[-1] if path[-1].startswith(("block", "conv_7b")) else None


SOURCES = (
  imagenet.Source(
    name="Keras's InceptionResNetV2",
    file="inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
    layer=_keras_layer,
  ),
)


def _conv(
  kit: layers.Kit, x: Array, channels: int, kernel, name: str, **how
) -> Array:
  channels = kit.options.channels(channels)
  return nn.relu(kit.conv(x, channels, kernel, name, f"{name}_bn", **how))


def _branches(
  kit: layers.Kit, x: Array, branches: tuple[Branch, ...], **last
) -> list[Array]:
  """Applies the branches; their last convolutions have a stride and padding."""
  outs = [x] * len(branches)
  for i, branch in enumerate(branches):
    for j, (channels, kernel) in enumerate(branch):
      how = last if j == len(branch) - 1 else {}
      name = f"branch{i}_{j}"
      outs[i] = _conv(kit, outs[i], channels, kernel, name, **how)
  return outs


class Mixed(nn.Module):
  """The branches and a pool, concatenated."""

  kit: layers.Kit

  @nn.compact
  def __call__(self, x: Array) -> Array:
    kit, branches = self.kit, MIXED[self.name]
    if self.name == "mixed_5b":
      outs = _branches(kit, x, branches)
      pool = _conv(kit, kit.avg_pool(x, 3, 1, "SAME"), 64, 1, "pool_conv")
    else:
      outs = _branches(kit, x, branches, stride=2, padding="VALID")
      pool = kit.max_pool(x, 3, 2)
    return lowerings.stored(jnp.concatenate([*outs, pool], -1))


class Block(nn.Module):
  """A residual block: x + scale * f(x)."""

  kit: layers.Kit
  kind: str
  last: bool

  @nn.compact
  def __call__(self, x: Array) -> Array:
    f = jnp.concatenate(_branches(self.kit, x, BLOCKS[self.kind]), -1)
    f = self.kit.conv(f, x.shape[-1], 1, f"{self.name}_conv", use_bias=True)
    x = x + f if self.last else nn.relu(x + SCALES[self.kind] * f)
    return lowerings.stored(x)


class InceptionResNet(nn.Module):
  num_classes: int
  options: layers.Options
  blocks: tuple[int, int, int]

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    kit = layers.Kit(self.options, train, use_scale=False)
    x = _conv(kit, x, 32, 3, "stem_1", stride=2, padding="VALID")
    x = _conv(kit, x, 32, 3, "stem_2", padding="VALID")
    x = _conv(kit, x, 64, 3, "stem_3")
    x = _conv(kit, kit.max_pool(x, 3, 2), 80, 1, "stem_4")
    x = _conv(kit, x, 192, 3, "stem_5", padding="VALID")
    x = kit.max_pool(x, 3, 2)
    mixed, block = map(self.options.block, (Mixed, Block))
    for title, kind, repeats in zip(MIXED, BLOCKS, self.blocks, strict=True):
      x = mixed(kit, name=title)(x)
      for i in range(1, repeats + 1):
        last = kind == "block8" and i == repeats
        x = block(kit, kind, last, name=f"{kind}_{i}")(x)
    x = _conv(kit, x, 1536, 1, "conv_7b")
    return kit.logits(layers.mean_of_image(x), self.num_classes)


@imagenet.factory(MIN_SIZE, *SOURCES)
def inception_resnet_v2(
  num_classes: int,
  options: layers.Options,
  blocks: tuple[int, int, int] = (10, 20, 10),
) -> nn.Module:
  """Builds Inception-ResNet-v2; `blocks` counts block35, block17 and block8."""
  layers.check_blocks(blocks, 3)
  return InceptionResNet(num_classes, options, tuple(blocks))
