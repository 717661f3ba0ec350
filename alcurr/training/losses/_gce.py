"""The generalised cross-entropy, which trusts examples of high loss less.

Zhang & Sabuncu 2018, "Generalized Cross Entropy Loss for Training Deep Neural
Networks with Noisy Labels", equation 6:

  l = (1 - p_y^q) / q

It tends to the cross-entropy as q -> 0, and is the mean absolute error (over
2) at q = 1. Its gradient is that of the cross-entropy times p_y^q, so that a
wrong label, which the model finds improbable, pulls less. The paper's truncated
loss is not here.

Cost: that of the cross-entropy.
"""

import jax.numpy as jnp

from alcurr.core.arguments import check_positive_fraction
from alcurr.training.losses._plain import softmax_cross_entropy
from alcurr.types import Array, Loss


def gce(*, q: float = 0.7) -> Loss:
  """Returns the generalised cross-entropy; `q` is in (0, 1]."""
  check_positive_fraction(q=q)

  def loss(logits: Array, label: Array) -> Array:
    # 1 - p^q without the cancellation where p is near 1.
    return -jnp.expm1(-q * softmax_cross_entropy(logits, label)) / q

  return loss
