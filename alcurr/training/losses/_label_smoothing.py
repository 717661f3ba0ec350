"""Label smoothing: a share of each label is spread over all classes.

Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer
Vision", section 7:

  l = (1 - s) (-log p_y) + s mean_j (-log p_j)

Cost: that of the cross-entropy.
"""

import jax

from alcurr.core.arguments import check_fraction
from alcurr.training.losses._plain import softmax_cross_entropy
from alcurr.types import Array, Loss


def label_smoothing(*, amount: float = 0.1) -> Loss:
  """Returns the cross-entropy with smoothed labels.

  `amount` is s, the share of the label that is spread over all V classes, in
  [0, 1].
  """
  check_fraction(amount=amount)

  def loss(logits: Array, label: Array) -> Array:
    hard = softmax_cross_entropy(logits, label)
    spread = -jax.nn.log_softmax(logits).mean(1)
    return (1 - amount) * hard + amount * spread

  return loss
