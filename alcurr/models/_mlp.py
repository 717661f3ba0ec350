"""A multilayer perceptron, for rows of numbers.

layer        output   MFLOP per example of F = 100 numbers
standardise  F
dense        128      0.03
dense        128      0.03
dense        V

The first layer brings each number to mean 0 and variance 1, as a batch norm
without parameters, so that columns may have any unit. They are then limited to
[-5, 5]: of a column that is nearly always 0, batches have no variance. Images,
and the arrays of a dict, are flattened and joined.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_at_least
from alcurr.models import adapters, layers
from alcurr.types import Array, Model, PyTree

_MOST = 5.0  # standard deviations


class MLP(nn.Module):
  num_classes: int
  hidden: tuple[int, ...]

  @nn.compact
  def __call__(self, inputs: PyTree, train: bool) -> Array:
    flat = [x.reshape(x.shape[0], -1) for x in jax.tree.leaves(inputs)]
    x = jnp.concatenate([x.astype(jnp.float32) for x in flat], 1)
    x = nn.BatchNorm(
      use_running_average=not train,
      momentum=0.99,
      use_bias=False,
      use_scale=False,
      name="standardise",
    )(x).clip(-_MOST, _MOST)
    for i, size in enumerate(self.hidden, start=1):
      x = nn.Dense(size, kernel_init=layers.he_normal, name=f"dense{i}")(x)
      x = nn.relu(x)
    return nn.Dense(
      self.num_classes, kernel_init=layers.glorot_uniform, name=layers.HEAD
    )(x)


def mlp(
  *,
  input_shape: PyTree,
  num_classes: int,
  hidden: Sequence[int] = (128, 128),
) -> Model:
  """Builds a multilayer perceptron.

  Args:
    input_shape: of any inputs.
    num_classes: V classes, or numbers to predict.
    hidden: sizes of the hidden layers.

  Raises:
    ValueError: an argument is out of range.
  """
  check_at_least(1, num_classes=num_classes)
  for size in hidden:
    check_at_least(1, hidden=size)
  module = MLP(num_classes, tuple(hidden))
  return adapters.from_linen(module, input_shape, head=layers.HEAD)
