"""The operations of the six networks that `benchmarks.lowerings` measures."""

from typing import NamedTuple

from alcurr.models.lowerings import Padding

KINDS = ("full", "pointwise", "depthwise", "grouped", "pool")
CENTRED = ((1, 1), (1, 1))


class Case(NamedTuple):
  """An operation of a network.

  Attributes:
    kind: one of KINDS.
    where: a layer with this operation.
    shrink: the image size over the size of the operation's input.
    inputs, features: channels; equal for pools and depthwise convolutions.
    kernel: size of the kernel, or of the window of a pool.
    groups: groups of a convolution.
    pool: "max", "avg", or "" for a convolution.
  """

  kind: str
  where: str
  shrink: int
  inputs: int
  features: int
  kernel: tuple[int, int]
  stride: int = 1
  padding: Padding = "SAME"
  groups: int = 1
  pool: str = ""

  def title(self) -> str:
    size = "x".join(map(str, self.kernel))
    stride = f" /{self.stride}" if self.stride > 1 else ""
    channels = f"{self.inputs} -> {self.features}"
    if self.inputs == self.features:
      channels = str(self.inputs)
    return f"{self.pool or 'conv'} {size}{stride}, {channels}, {self.where}"


def _full(where, shrink, inputs, features, kernel, *how) -> Case:
  return Case("full", where, shrink, inputs, features, kernel, *how)


def _pointwise(where, shrink, inputs, features, stride=1) -> Case:
  return Case("pointwise", where, shrink, inputs, features, (1, 1), stride)


def _depthwise(where, shrink, channels, kernel, stride=1) -> Case:
  square = (kernel, kernel)
  return Case(
    "depthwise",
    where,
    shrink,
    channels,
    channels,
    square,
    stride,
    groups=channels,
  )


def _grouped(where, shrink, channels, stride=1) -> Case:
  return Case(
    "grouped", where, shrink, channels, channels, (3, 3), stride, CENTRED, 32
  )


def _pool(where, shrink, channels, pool, window, stride, padding) -> Case:
  square = (window, window)
  return Case(
    "pool", where, shrink, channels, channels, square, stride, padding, 1, pool
  )


CASES = (
  _full("mobilenet conv1", 1, 3, 32, (3, 3), 2),
  _full("resnet50 conv1", 1, 3, 64, (7, 7), 2, ((3, 3), (3, 3))),
  _full("inception stem_3", 2, 32, 64, (3, 3)),
  _full("inception stem_5", 4, 80, 192, (3, 3), 1, "VALID"),
  _full("inception mixed_5b", 8, 48, 64, (5, 5)),
  _full("inception mixed_6a", 8, 320, 384, (3, 3), 2, "VALID"),
  _full("inception block17", 16, 128, 160, (1, 7)),
  _full("inception block17", 16, 160, 192, (7, 1)),
  _full("resnet50 conv2", 4, 64, 64, (3, 3)),
  _full("resnet50 conv3", 8, 128, 128, (3, 3)),
  _full("resnet50 conv4", 16, 256, 256, (3, 3)),
  _full("resnet50 conv5", 32, 512, 512, (3, 3)),
  _pointwise("mobilenet block 1", 2, 32, 64),
  _pointwise("mobilenet block 7", 16, 512, 512),
  _pointwise("mobilenet block 13", 32, 1024, 1024),
  _pointwise("resnet50 conv2", 4, 64, 256),
  _pointwise("resnet50 conv3 shortcut", 4, 256, 512, 2),
  _pointwise("nasnet_mobile stage 1", 8, 264, 44),
  _pointwise("nasnet_large stage 1", 8, 1008, 168),
  _pointwise("inception block8", 32, 2080, 192),
  _depthwise("mobilenet block 1", 2, 32, 3),
  _depthwise("mobilenet block 2", 2, 64, 3, 2),
  _depthwise("mobilenet block 7", 16, 512, 3),
  _depthwise("mobilenet block 13", 32, 1024, 3),
  _depthwise("nasnet_mobile stage 1", 8, 44, 5),
  _depthwise("nasnet_large stage 1", 8, 168, 5),
  _depthwise("nasnet_large stage 3", 32, 672, 3),
  _depthwise("nasnet_large stem_1", 2, 96, 7, 2),
  _depthwise("nasnet_large reduction", 8, 336, 5, 2),
  _depthwise("nasnet_large reduction", 8, 336, 7, 2),
  _grouped("se_resnext50 stage 1", 4, 128),
  _grouped("se_resnext50 stage 2", 4, 256, 2),
  _grouped("se_resnext50 stage 3", 16, 512),
  _grouped("se_resnext50 stage 4", 32, 1024),
  _pool("resnet50 stem", 2, 64, "max", 3, 2, CENTRED),
  _pool("inception stem", 4, 192, "max", 3, 2, "VALID"),
  _pool("inception mixed_5b", 8, 192, "avg", 3, 1, "SAME"),
  _pool("nasnet_large stage 1", 8, 168, "avg", 3, 1, "SAME"),
  _pool("nasnet_large stage 3", 32, 672, "avg", 3, 1, "SAME"),
  _pool("nasnet_large reduction", 8, 336, "avg", 3, 2, "VALID"),
  _pool("cnn", 1, 32, "max", 2, 2, "VALID"),
)
