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

from alcurr.models import layers
from alcurr.types import Array, Model

# Two pools of 2 leave one pixel.
MIN_SIZE = 4


class _CNN(nn.Module):
  num_classes: int
  width: float
  norm: str
  lowering: str

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    for i, channels in enumerate((32, 64), start=1):
      x = layers.Conv(
        layers.scaled(channels, self.width),
        kernel=3,
        use_bias=self.norm == "none",  # a norm has its own
        lowering=self.lowering,
        name=f"conv{i}",
      )(x)
      x = layers.make_norm(self.norm, train=train, name=f"conv{i}_norm")(x)
      x = layers.max_pool(nn.relu(x), window=2, lowering=self.lowering)
    x = x.reshape(x.shape[0], -1)
    x = nn.Dense(
      layers.scaled(128, self.width),
      kernel_init=layers.he_normal,
      name="dense",
    )(x)
    return nn.Dense(
      self.num_classes, kernel_init=layers.glorot_uniform, name="logits"
    )(nn.relu(x))


def cnn(
  *,
  image_shape: tuple[int, int, int],
  num_classes: int,
  width: float = 1.0,
  norm: str = "none",
  lowering: str = "auto",
) -> Model:
  """Two convolutions and a hidden layer.

  Args:
    image_shape: (H, W, C), at least 4 x 4 pixels.
    num_classes: V, at least 2.
    width: multiplies the channels and the hidden units, positive.
    norm: after each convolution: "none", "batch" or "group".
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
    norms=("none", "batch", "group"),
    lowering=lowering,
  )
  module = _CNN(num_classes, width, norm, lowering)
  return layers.from_linen(module, image_shape)
