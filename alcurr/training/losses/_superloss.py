"""SuperLoss: a curriculum within the loss, easy examples count more.

Castells, Weinzaepfel & Revaud 2020, "SuperLoss: A Generic Loss for Robust
Curriculum Learning". Each loss l gets the confidence σ that minimises

  (l - τ) σ + λ log² σ,   σ* = exp(-W(max(-2/e, (l - τ) / λ) / 2)) <= e

with Lambert's W, and that minimum is the new loss. An example with l below τ
weighs more than 1, one above it less. By the envelope theorem the gradient is
σ* times that of l, so W is not differentiated.

τ is log V, the loss of a guess, as in the paper's experiments on classes. The
paper's other choice of τ, a running mean of the loss, is not here.

Cost: O(B) above that of the cross-entropy.
"""

import math

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_at_least, check_positive
from alcurr.training.losses._lambert_w import lambert_w
from alcurr.training.losses._plain import softmax_cross_entropy
from alcurr.types import Array, Loss


def superloss(*, tau: float | None = None, regularization: float = 1.0) -> Loss:
  """Returns the SuperLoss of the cross-entropy.

  Args:
    tau: τ, the loss that tells easy from hard; None for log V.
    regularization: λ, positive. The larger, the closer to the cross-entropy
      less τ.
  """
  check_at_least(0, tau=tau)
  check_positive(regularization=regularization)

  def loss(logits: Array, label: Array) -> Array:
    threshold = math.log(logits.shape[1]) if tau is None else tau
    excess = softmax_cross_entropy(logits, label) - threshold
    # Easier examples are clamped, to σ = e, by W itself.
    log_confidence = -lambert_w(
      jax.lax.stop_gradient(excess) / (2 * regularization)
    )
    confidence = jnp.exp(log_confidence)
    return excess * confidence + regularization * jnp.square(log_confidence)

  return loss
