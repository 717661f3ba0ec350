"""Logit adjustment: rare classes are not drowned by frequent ones.

Menon et al. 2021, "Long-tail learning via logit adjustment", equation 10:

  l = cross-entropy(z + τ log π, y),   π_y = N_y / N

The priors π are counted in the pool that is trained on, and nowhere else. The
network's own logits, without them, then estimate log p(x | y) rather than
log p(y | x), and are evaluated as they are: by their balanced error.
A class that the pool lacks counts as one example (ours: its log would be
-inf).

State: [V]. Cost: that of the cross-entropy.
"""

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_at_least
from alcurr.training.losses._plain import are_classes, softmax_cross_entropy
from alcurr.types import Array, Pool, StatefulLoss


def logit_adjustment(*, num_classes: int, tau: float = 1.0) -> StatefulLoss:
  """Returns the cross-entropy of logits that are moved by the classes' priors.

  `num_classes` is V; `tau`, at least 0, is the strength of the priors.
  """
  check_at_least(1, num_classes=num_classes)
  check_at_least(0, tau=tau)

  def init(pool: Pool) -> Array:
    if not are_classes(pool.label):
      raise ValueError(f"expected classes, got labels of {pool.label.dtype}")
    one = jnp.ones(pool.label.shape, jnp.int32)  # a count may pass 2^24
    count = jax.ops.segment_sum(one, pool.label, num_classes)
    count = jnp.maximum(count, 1).astype(jnp.float32)
    return jnp.log(count / pool.label.shape[0])

  def apply(
    log_prior: Array, index: Array, logits: Array, label: Array
  ) -> tuple[Array, Array]:
    adjusted = logits + tau * log_prior[None]
    return softmax_cross_entropy(adjusted, label), log_prior

  return StatefulLoss(init, apply, softmax_cross_entropy)
