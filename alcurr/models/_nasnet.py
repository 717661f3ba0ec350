"""NASNet-A: cells of separable convolutions and pools, found by search.

Zoph et al. 2018, "Learning Transferable Architectures for Scalable Image
Recognition", arXiv:1707.07012, figure 4 and appendix A. Layers are named and
normalised as in Keras. NASNet-A (N @ P) has N normal cells per stage and P
channels at the end; F = P / 24 is the width of the first stage.

  layer                       mobile (4 @ 1056)   large (6 @ 4032)
  stem 3x3 /2, not padded     32                  96
  reduction cell, stem_1      F / 4 = 11          F / 4 = 42
  reduction cell, stem_2      F / 2 = 22          F / 2 = 84
  N normal cells              F     = 44          F     = 168
  reduction cell              2 F                 2 F
  N normal cells              2 F   = 88          2 F   = 336
  reduction cell              4 F                 4 F
  N normal cells              4 F   = 176         4 F   = 672
  ReLU, average over the image, dense V

Every cell sees the outputs h and p of the two cells before it. h passes a ReLU,
a 1x1 convolution to the cell's width and a norm. p is "adjusted" to the same
width. Where p is larger, it is halved by two 1x1 convolutions, of the even and
of the odd pixels. The sums x1 to x5 in `Cell` are concatenated at the end.

After a reduction cell, p is that cell's h; in the large network, its p. Pools
of a reduction cell are padded with zeros, which count, as in Keras.
"""

import flax.linen as nn
import jax.numpy as jnp

from alcurr.core.arguments import check_at_least
from alcurr.models import imagenet, layers
from alcurr.types import Array

# The smallest size that the stem and each of the four reductions still reduce.
MIN_SIZE = 19

MOBILE_SOURCE = imagenet.Source(
  name="Keras's NASNetMobile", file="NASNet-mobile-no-top.h5"
)
LARGE_SOURCE = imagenet.Source(
  name="Keras's NASNetLarge", file="NASNet-large-no-top.h5"
)


class Cell(nn.Module):
  """A normal or a reduction cell with `filters` channels."""

  kit: layers.Kit
  title: str  # Keras's number of the block
  filters: int
  reduction: bool

  @nn.compact
  def __call__(self, h: Array, p: Array | None) -> Array:
    p = h if p is None else self._adjusted(p, h.shape)
    kind = "reduction" if self.reduction else "normal"
    h = self._conv(nn.relu(h), f"{kind}_conv_1", f"{kind}_bn_1")
    return self._reduced(h, p) if self.reduction else self._normal(h, p)

  def _conv(self, x: Array, conv: str, norm: str) -> Array:
    names = f"{conv}_{self.title}", f"{norm}_{self.title}"
    return self.kit.conv(x, self.filters, 1, *names)

  def _adjusted(self, p: Array, shape: tuple[int, ...]) -> Array:
    """Returns p at the size of `shape`, with the channels of the cell."""
    if p.shape[1:3] != shape[1:3]:
      p = nn.relu(p)
      odd = jnp.pad(p[:, 1:, 1:], ((0, 0), (0, 1), (0, 1), (0, 0)))
      filters, name = self.filters // 2, f"_{self.title}"
      even = self.kit.conv(p[:, ::2, ::2], filters, 1, f"adjust_conv_1{name}")
      odd = self.kit.conv(odd[:, ::2, ::2], filters, 1, f"adjust_conv_2{name}")
      p = jnp.concatenate([even, odd], -1)
      return self.kit.norm(p, f"adjust_bn_{self.title}")
    if p.shape[-1] != self.filters:
      return self._conv(nn.relu(p), "adjust_conv_projection", "adjust_bn")
    return p

  def _sep(self, x: Array, kernel: int, name: str, stride: int = 1) -> Array:
    """Applies twice a ReLU, a separable convolution and a norm."""
    for i, s in ((1, stride), (2, 1)):
      title = f"{name}_{self.title}"
      conv = layers.SeparableConv(
        self.kit, self.filters, kernel, s, name=f"separable_conv_{i}_{title}"
      )
      x = self.kit.norm(conv(nn.relu(x)), f"separable_conv_{i}_bn_{title}")
    return x

  def _mean(self, x: Array) -> Array:
    return self.kit.avg_pool(x, 3, 1, "SAME")

  def _normal(self, h: Array, p: Array) -> Array:
    x1 = self._sep(h, 5, "normal_left1") + self._sep(p, 3, "normal_right1")
    x2 = self._sep(p, 5, "normal_left2") + self._sep(p, 3, "normal_right2")
    x3 = self._mean(h) + p
    x4 = 2 * self._mean(p)
    x5 = self._sep(h, 3, "normal_left5") + h
    return jnp.concatenate([p, x1, x2, x3, x4, x5], -1)

  def _reduced(self, h: Array, p: Array) -> Array:
    # "SAME" padding of a 3 x 3 window with stride 2, by zeros.
    pads = [(n % 2, 1) for n in h.shape[1:3]]
    padded = jnp.pad(h, ((0, 0), *pads, (0, 0)))
    largest = self.kit.max_pool(padded, 3, 2)
    x1 = self._sep(h, 5, "reduction_left1", 2)
    x1 += self._sep(p, 7, "reduction_right1", 2)
    x2 = largest + self._sep(p, 7, "reduction_right2", 2)
    x3 = self.kit.avg_pool(padded, 3, 2)
    x3 += self._sep(p, 5, "reduction_right3", 2)
    x4 = x2 + self._mean(x1)
    x5 = self._sep(x1, 3, "reduction_left4") + largest
    return jnp.concatenate([x2, x3, x4, x5], -1)


class NASNet(nn.Module):
  num_classes: int
  options: layers.Options
  num_blocks: int  # N
  filters: int  # F, at width 1
  stem_filters: int
  skip_reduction: bool  # whether p after a reduction cell is that cell's p

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    kit = layers.Kit(self.options, train, momentum=0.9997)
    block = self.options.block(Cell)
    # A multiple of 4: cells use a quarter of it, and half of its half.
    width = 4 * max(1, int(self.filters * self.options.width / 4))
    channels = self.options.channels(self.stem_filters)
    how = {"stride": 2, "padding": "VALID"}
    h, p = kit.conv(x, channels, 3, "stem_conv1", "stem_bn1", **how), None

    def cell(filters: int, title: str, reduction: bool) -> Array:
      return block(kit, title, filters, reduction, name=f"cell_{title}")(h, p)

    h, p = cell(width // 4, "stem_1", True), h
    h, p = cell(width // 2, "stem_2", True), h
    for stage in range(3):
      filters, number = width * 2**stage, stage * self.num_blocks
      if stage:
        reduced = cell(filters, f"reduce_{number}", True)
        h, p = reduced, p if self.skip_reduction else h
      for i in range(self.num_blocks):
        h, p = cell(filters, f"{number + i + (stage > 0)}", False), h
    return kit.logits(layers.mean_of_image(nn.relu(h)), self.num_classes)


@imagenet.factory(MIN_SIZE, MOBILE_SOURCE)
def nasnet_mobile(
  num_classes: int, options: layers.Options, num_blocks: int = 4
) -> nn.Module:
  """Builds NASNet-A (4 @ 1056); stages have `num_blocks` normal cells."""
  check_at_least(1, num_blocks=num_blocks)
  return NASNet(num_classes, options, num_blocks, 44, 32, skip_reduction=False)


@imagenet.factory(MIN_SIZE, LARGE_SOURCE)
def nasnet_large(
  num_classes: int, options: layers.Options, num_blocks: int = 6
) -> nn.Module:
  """Builds NASNet-A (6 @ 4032); stages have `num_blocks` normal cells."""
  check_at_least(1, num_blocks=num_blocks)
  return NASNet(num_classes, options, num_blocks, 168, 96, skip_reduction=True)
