"""Evaluates a model on a pool: loss, top-1, top-3, MAP@3, by class and by arm.

The device returns two numbers per example, and every metric is a mean of them.
So a metric by class or by arm, or an interval, needs no second pass. Labels
that are not classes have the loss alone.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.training.losses import are_classes, softmax_cross_entropy
from alcurr.types import Array, Batch, Loss, Model, Pool, PyTree


class Scores(NamedTuple):
  """A model's result on each of N examples."""

  # [N] int32, the classes ranked before the true one; 0 is right. None if the
  # labels are not classes.
  rank: Array | None
  loss: Array  # [N] float32


def make_evaluate(
  model: Model,
  gather: Callable[[Pool, Array], Batch],
  batch_size: int,
  loss: Loss = softmax_cross_entropy,
) -> Callable[[tuple[PyTree, PyTree], Pool], Scores]:
  """Returns a function ((params, model_state), pool) -> Scores.

  Args:
    model: the network, evaluated with train=False.
    gather: (pool, index [B]) -> Batch.
    batch_size: B, examples at a time.
    loss: of each example.
  """

  def evaluate(variables: tuple[PyTree, PyTree], pool: Pool) -> Scores:
    params, model_state = variables
    num_examples = pool.label.shape[0]
    size = min(batch_size, num_examples)
    num_batches = -(-num_examples // size)

    def score(index: Array) -> Scores:
      batch = gather(pool, index)
      # Nothing is random without training, but the key is required.
      logits, _ = model.apply(
        jax.random.key(0), params, model_state, batch.image, train=False
      )
      rank = _rank(logits, batch.label) if are_classes(batch.label) else None
      return Scores(rank, loss(logits, batch.label))

    # The last batch is padded with the last example, which is cut off again.
    index = jnp.arange(num_batches * size).clip(max=num_examples - 1)
    scores = jax.lax.map(score, index.reshape(num_batches, size))
    return jax.tree.map(lambda x: x.reshape(-1)[:num_examples], scores)

  return evaluate


def _rank(logits: Array, label: Array) -> Array:
  """Returns how many classes of [B, V] rank before the true one: [B] int32."""
  label = label[:, None]
  true = jnp.take_along_axis(logits, label, axis=1)
  # The lower class is first among equal logits, as in lax.top_k. A NaN is
  # never right: all other classes rank before it.
  before = ~(logits <= true) | (
    (logits == true) & (jnp.arange(logits.shape[1]) < label)
  )
  return before.sum(1).astype(jnp.int32)


def summarize(scores: Scores) -> dict[str, float]:
  """Returns the mean loss and, for classes, top1, top3 and map3 (MAP@3)."""
  loss = float(np.asarray(scores.loss, np.float64).mean())
  if scores.rank is None:
    return {"loss": loss}
  rank = np.asarray(scores.rank)
  return {
    "top1": float((rank < 1).mean()),
    "top3": float((rank < 3).mean()),
    # With one true class, the average precision is 1 / its place.
    "map3": float(np.where(rank < 3, 1 / (rank + 1), 0).mean()),
    "loss": loss,
  }


def selection_metric(metrics: Mapping[str, Any]) -> float:
  """Returns top-1 or, for targets, minus the loss; larger is better."""
  return metrics["top1"] if "top1" in metrics else -metrics["loss"]


def accuracy_by(scores: Scores, group: np.ndarray) -> list[float | None]:
  """Returns top-1 within each group; None for an empty one.

  `group` [N] has the numbers of the examples' groups.
  """
  right = np.bincount(group, np.asarray(scores.rank) < 1)
  counts = zip(right.tolist(), np.bincount(group).tolist(), strict=True)
  return [num / total if total else None for num, total in counts]


def report(scores: Scores, pool: Pool) -> dict[str, Any]:
  """Returns the means and, for classes, top-1 by class and by arm."""
  if scores.rank is None:
    return summarize(scores)
  return summarize(scores) | {
    "top1_by_class": accuracy_by(scores, np.asarray(pool.label)),
    "top1_by_arm": {
      name: accuracy_by(scores, np.asarray(partition.arm))
      for name, partition in pool.partitions.items()
      if name != "label"
    },
  }
