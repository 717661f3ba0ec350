"""Early-learning regularisation: a memory of each example's predictions.

Liu et al. 2020, "Early-Learning Regularization Prevents Memorization of Noisy
Labels", equations 6 and 9. Each example i has a target t_i, a running mean of
the model's own probabilities p_i, from zero:

  t_i <- β t_i + (1 - β) p_i
  l   = -log p_iy + λ log(1 - <t_i, p_i>)

The second term pulls the model to what it believed early on, before it learns
wrong labels by heart. As in the authors' code, p is clipped to [1e-4, 1 - 1e-4]
(what the target takes in sums to 1 again), and the loss uses the new target.

Ours: an example that is several times in a batch takes in the mean of its
predictions. The loss is the training loss alone; whatever else is measured is
the cross-entropy.

State: [N, V] float32, the memory of N examples: 24 GB for 50 million examples
of 120 classes. Cost: O(B V + B²) above that of the cross-entropy.
"""

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_at_least, check_fraction
from alcurr.training.losses._plain import are_classes, softmax_cross_entropy
from alcurr.types import Array, Pool, StatefulLoss

_CLIP = 1e-4


def elr(
  *, num_classes: int, decay: float = 0.7, weight: float = 3.0
) -> StatefulLoss:
  """Returns the cross-entropy with early-learning regularisation.

  Args:
    num_classes: V.
    decay: β, in [0, 1].
    weight: λ, at least 0.
  """
  check_at_least(1, num_classes=num_classes)
  check_fraction(decay=decay)
  check_at_least(0, weight=weight)

  def init(pool: Pool) -> Array:
    if not are_classes(pool.label):
      raise ValueError(f"expected classes, got labels of {pool.label.dtype}")
    return jnp.zeros((pool.label.shape[0], num_classes), jnp.float32)

  def apply(
    targets: Array, index: Array, logits: Array, label: Array
  ) -> tuple[Array, Array]:
    p = jax.nn.softmax(logits).clip(_CLIP, 1 - _CLIP)
    believed = jax.lax.stop_gradient(p)
    believed /= believed.sum(1, keepdims=True)
    # How often each is in the batch; faster than to sort it.
    times = (index[:, None] == index[None]).astype(jnp.float32).sum(1)
    moves = (1 - decay) * (believed - targets[index]) / times[:, None]
    targets = targets.at[index].add(moves)
    agreement = (targets[index] * p).sum(1)
    regularizer = jnp.log1p(-agreement)
    return softmax_cross_entropy(logits, label) + weight * regularizer, targets

  return StatefulLoss(init, apply, softmax_cross_entropy)
