"""The cross-entropy, the squared error, and the metric of a loss."""

import jax
import jax.numpy as jnp
import optax

from alcurr.types import Array, Loss


def are_classes(label: Array) -> bool:
  """Returns whether labels are classes rather than targets."""
  return jnp.issubdtype(label.dtype, jnp.integer)


def softmax_cross_entropy(logits: Array, label: Array) -> Array:
  """Returns -log softmax(logits)[label] of classes: [B].

  Raises:
    ValueError: the labels are targets.
  """
  if not are_classes(label):
    text = f"expected classes, got labels of {label.dtype}"
    raise ValueError(f"{text}; take the loss squared_error")
  return optax.softmax_cross_entropy_with_integer_labels(logits, label)


def cross_entropy() -> Loss:
  """Returns the negative log-likelihood of the class."""
  return softmax_cross_entropy


def squared_error() -> Loss:
  """Returns the mean squared error over the outputs.

  Classes are one-hot targets (Hui & Belkin 2021, "Evaluation of Neural
  Architectures Trained with Square Loss vs Cross-Entropy in Classification
  Tasks").
  """

  def loss(logits: Array, label: Array) -> Array:
    if are_classes(label):
      target = jax.nn.one_hot(label, logits.shape[1], dtype=logits.dtype)
    else:
      target = label.reshape(label.shape[0], -1)
    if target.shape != logits.shape:
      given = f"{logits.shape[1]} numbers for an example"
      text = f"the model returns {given}, but labels have {target.shape[1]}"
      raise ValueError(text)
    return jnp.square(logits - target).mean(1)

  return loss


def metric(logits: Array, label: Array) -> Array:
  """Returns the losses [B] that evaluations and difficulties are measured by.

  They are the cross-entropy of classes, and the squared error of targets.
  """
  if are_classes(label):
    return softmax_cross_entropy(logits, label)
  return squared_error()(logits, label)
