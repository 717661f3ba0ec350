"""Scores of difficulty from a model's logits.

Each is a factory of a function (logits [B, V], label [B]) -> [B] float32,
larger is harder.
"""

import jax

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
    return jax.numpy.linalg.norm(off, axis=1)

  return score


SCORERS = Registry("scorers", {"loss": of_loss, "el2n": el2n})
