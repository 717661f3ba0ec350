"""A small CNN, for experiments that a CPU finishes.

layer           output at width 1, 28 x 28   MFLOP an example
conv 3x3        28 x 28 x 32                 0.5
max-pool 2      14 x 14 x 32
conv 3x3        14 x 14 x 64                 7.2
max-pool 2      7 x 7 x 64
dense           128                          0.8
dense           V
"""

import flax.linen as nn
import jax.numpy as jnp

from alcurr.models import adapters, checks, layers
from alcurr.types import Array, Model

# Two pools of 2 leave one pixel.
MIN_SIZE = 4


class CNN(nn.Module):
  num_classes: int
  options: layers.Options

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    kit = layers.Kit(self.options, train)
    x = kit.start(x)
    for i, channels in enumerate((32, 64), start=1):
      x = kit.conv(
        x,
        self.options.channels(channels),
        3,
        f"conv{i}",
        use_bias=self.options.norm == "none",  # a norm has its own
      )
      x = kit.norm(x, f"conv{i}_norm")
      x = kit.max_pool(nn.relu(x), 2, 2)
    x = x.reshape(x.shape[0], -1)
    x = nn.Dense(
      self.options.channels(128),
      kernel_init=layers.he_normal,
      dtype=x.dtype,
      name="dense",
    )(x)
    return kit.logits(nn.relu(x).astype(jnp.float32), self.num_classes)


def cnn(
  *,
  image_shape: tuple[int, int, int],
  num_classes: int,
  width: float = 1.0,
  norm: str = "none",
  conv: str = "auto",
  dtype: str = "float32",
) -> Model:
  """Two convolutions and a hidden layer.

  Arguments as of every network, see `alcurr.models`; images of at least 4 x 4
  pixels, `width` multiplies the hidden units too, and `norm`, after each
  convolution, may be "none".

  Raises:
    ValueError: an argument out of range.
  """
  checks.check_arguments(
    image_shape=image_shape,
    min_size=MIN_SIZE,
    num_classes=num_classes,
    norm=norm,
    norms=("none", *checks.NORMS),
  )
  options = layers.Options(norm=norm, conv=conv, dtype=dtype, width=width)
  return adapters.from_linen(CNN(num_classes, options), image_shape)
