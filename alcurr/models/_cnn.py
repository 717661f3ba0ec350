"""A small CNN, for experiments on a CPU.

layer           output at width 1, 28 x 28   MFLOP per example
conv 3x3        28 x 28 x 32                 0.5
max-pool 2      14 x 14 x 32
conv 3x3        14 x 14 x 64                 7.2
max-pool 2      7 x 7 x 64
dense           128                          0.8
dense           V
"""

import flax.linen as nn

from alcurr.models import adapters, layers
from alcurr.types import Array, Model

# The smallest size for which two pools of 2 leave a pixel.
MIN_SIZE = 4


class CNN(nn.Module):
  num_classes: int
  options: layers.Options

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    kit = layers.Kit(self.options, train)
    for i, channels in enumerate((32, 64), start=1):
      channels = self.options.channels(channels)
      use_bias = self.options.norm == "none"  # a norm has its own bias
      x = kit.conv(x, channels, 3, f"conv{i}", f"conv{i}_norm", use_bias)
      x = kit.max_pool(nn.relu(x), 2, 2)
    x = nn.Dense(
      self.options.channels(128),
      kernel_init=layers.he_normal,
      dtype=x.dtype,
      name="dense",
    )(x.reshape(x.shape[0], -1))
    return kit.logits(nn.relu(x), self.num_classes)


def cnn(
  *,
  input_shape: tuple[int, int, int],
  num_classes: int,
  width: float = 1.0,
  norm: str = "none",
  conv: str = "auto",
  dtype: str = "float32",
) -> Model:
  """Builds a CNN with two convolutions and a hidden layer.

  Takes images of at least 4 x 4; other arguments: see `alcurr.models`.
  `width` also multiplies the hidden units, and `norm` may be "none".

  Raises:
    ValueError: an argument is out of range.
  """
  norms = ("none", *layers.NORMS)
  layers.check_arguments(input_shape, MIN_SIZE, num_classes, norm, norms)
  options = layers.Options(norm=norm, conv=conv, dtype=dtype, width=width)
  module = CNN(num_classes, options)
  return adapters.from_linen(module, input_shape, head=layers.HEAD)
