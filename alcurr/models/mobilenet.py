"""MobileNet (v1): depthwise separable convolutions.

Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for
Mobile Vision Applications", arXiv:1704.04861, table 1; layers are named and
normalised as in Keras.

  layer     stride   channels at width 1   size from 224   from 28
  conv 3x3  2        32                    112             14
  block 1   1        64                    112             14
  block 2   2        128                   56              7
  block 3   1        128                   56              7
  block 4   2        256                   28              4
  block 5   1        256                   28              4
  block 6   2        512                   14              2
  7 to 11   1        512                   14              2
  block 12  2        1024                  7               1
  block 13  1        1024                  7               1
  average over the image, dropout, dense V

A block is a 3x3 depthwise convolution with the stride, a norm, a ReLU capped
at 6, a 1x1 convolution to the channels, a norm, and the ReLU again.

Padding is "SAME", as in the authors' TensorFlow code. Keras pads below and to
the right only, which is the same where a stride meets an even size (all of
them in multiples of 32), and cannot go below 32 pixels.
"""

import flax.linen as nn

from alcurr.models import layers
from alcurr.types import Array, Model

# The smallest size that every one of the five strides still shrinks.
MIN_SIZE = 17

# (channels at width 1, stride) of blocks 1 to 13.
BLOCKS = (
  (64, 1),
  (128, 2),
  (128, 1),
  (256, 2),
  (256, 1),
  (512, 2),
  *[(512, 1)] * 5,
  (1024, 2),
  (1024, 1),
)


class _MobileNet(nn.Module):
  num_classes: int
  width: float
  norm: str
  dropout: float
  lowering: str

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    def conv(x: Array, channels: int, kernel: int, stride: int, name: str):
      x = layers.Conv(
        layers.scaled(channels, self.width),
        kernel=kernel,
        stride=stride,
        use_bias=False,
        lowering=self.lowering,
        name=name,
      )(x)
      return norm_relu(x, name)

    def norm_relu(x: Array, name: str):
      norm = layers.make_norm(self.norm, train=train, name=f"{name}_bn")
      return nn.relu6(norm(x))

    x = conv(x, 32, 3, 2, "conv1")
    for i, (channels, stride) in enumerate(BLOCKS, start=1):
      x = layers.DepthwiseConv(
        kernel=3, stride=stride, lowering=self.lowering, name=f"conv_dw_{i}"
      )(x)
      x = norm_relu(x, f"conv_dw_{i}")
      x = conv(x, channels, 1, 1, f"conv_pw_{i}")
    x = x.mean((1, 2))
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return nn.Dense(
      self.num_classes, kernel_init=layers.glorot_uniform, name="conv_preds"
    )(x)


def mobilenet(
  *,
  image_shape: tuple[int, int, int],
  num_classes: int,
  width: float = 1.0,
  norm: str = "batch",
  dropout: float = 1e-3,
  lowering: str = "auto",
) -> Model:
  """MobileNet v1 at any width and size.

  Args:
    image_shape: (H, W, C), at least 17 x 17 pixels.
    num_classes: V, at least 2.
    width: multiplies the channels, positive.
    norm: "batch" or "group".
    dropout: share of the averaged features dropped in training, in [0, 1);
      Keras's by default.
    lowering: "auto", "lax" or "matmul", see `alcurr.models.layers`.

  Raises:
    ValueError: an argument out of range.
  """
  layers.check_arguments(
    image_shape=image_shape,
    min_size=MIN_SIZE,
    num_classes=num_classes,
    width=width,
    norm=norm,
    norms=("batch", "group"),
    lowering=lowering,
  )
  if not 0 <= dropout < 1:
    raise ValueError(f"dropout must be in [0, 1), got {dropout}")
  module = _MobileNet(num_classes, width, norm, dropout, lowering)
  return layers.from_linen(module, image_shape)
