"""What a model is trained to make small: the loss of each example.

A loss is a function (logits [B, V], label [B]) -> [B] float32. Everything that
is measured of a model by its loss is measured by this one: what is trained,
the gains that samplers are paid, difficulties and evaluations. A pool's labels
may be classes, int32, or what is to be predicted, float32 [N] or [N, V].
"""

import jax
import jax.numpy as jnp
import optax

from alcurr.core.registry import Registry
from alcurr.types import Array, Loss


def are_classes(label: Array) -> bool:
  """Whether labels are classes, which can be told apart and ranked."""
  return jnp.issubdtype(label.dtype, jnp.integer)


def softmax_cross_entropy(logits: Array, label: Array) -> Array:
  """-log softmax(logits)[label], of classes: [B]."""
  if not are_classes(label):
    raise ValueError(
      f"cross_entropy needs classes, and the labels are {label.dtype}; take "
      "squared_error"
    )
  return optax.softmax_cross_entropy_with_integer_labels(logits, label)


def _mean_squared_error(logits: Array, label: Array) -> Array:
  """The mean over outputs of (logits - label)², of classes one-hot: [B]."""
  if are_classes(label):
    target = jax.nn.one_hot(label, logits.shape[1])
  else:
    target = label.reshape(label.shape[0], -1)
  if target.shape != logits.shape:
    raise ValueError(
      f"the model gives {logits.shape[1]} numbers an example, and the labels "
      f"are {target.shape[1]}"
    )
  return jnp.square(logits - target).mean(1)


def cross_entropy() -> Loss:
  """Of classes: the negative logarithm of the softmax at the true one."""
  return softmax_cross_entropy


def squared_error() -> Loss:
  """The mean square over the outputs of what they are off.

  Of regression; and of classes, whose target is one at the true one and zero
  elsewhere (Hui & Belkin 2021, "Evaluation of Neural Architectures Trained
  with Square Loss vs Cross-Entropy in Classification Tasks").
  """
  return _mean_squared_error


LOSSES = Registry(
  "losses", {"cross_entropy": cross_entropy, "squared_error": squared_error}
)
