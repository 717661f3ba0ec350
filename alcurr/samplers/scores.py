"""Scores of difficulty from a model's logits.

Each is a factory of a function (logits [B, V], label [B]) -> [B] float32,
larger is harder.
"""

import jax
import jax.numpy as jnp

from alcurr.core.registry import Registry
from alcurr.types import Array, Loss


def of_loss(*, loss: Loss) -> Loss:
  """Scores examples by the loss that the model was trained with."""
  return loss


def el2n() -> Loss:
  """Scores examples by |softmax(logits) - the one-hot class|, in [0, √2].

  From Paul, Ganguli & Dziugaite 2021, "Deep Learning on a Data Diet", for a
  single model. Unlike the loss, it is bounded.
  """

  def score(logits: Array, label: Array) -> Array:
    off = jax.nn.softmax(logits) - jax.nn.one_hot(
      label, logits.shape[1], dtype=logits.dtype
    )
    return jnp.linalg.norm(off, axis=1)

  return score


def logit_margin(logits: Array, label: Array) -> Array:
  """Returns how far the label's logit is above the largest other.

  Args:
    logits: [B, V], of at least two classes.
    label: [B] int32.

  Returns:
    [B] float32; negative where another class is predicted.
  """
  logits = logits.astype(jnp.float32)
  is_label = jax.nn.one_hot(label, logits.shape[1], dtype=bool)
  others = jnp.where(is_label, -jnp.inf, logits).max(axis=1)
  own = jnp.where(is_label, logits, 0).sum(axis=1)
  return own - others


def margin() -> Loss:
  """Scores examples by minus the margin of the label's logit.

  Unlike the loss it does not saturate at examples that the model is sure of.
  """
  return lambda logits, label: -logit_margin(logits, label)


SCORERS = Registry("scorers", {"loss": of_loss, "el2n": el2n, "margin": margin})
