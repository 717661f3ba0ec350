"""How good a model is on a pool: loss, top-1, top-3, MAP@3, by class, by arm.

Of labels that are not classes the loss alone.

The device answers with two numbers an example; every figure is a mean of
them, so a figure by class or by arm, or an interval over examples, needs no
second pass.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.training.losses import are_classes, softmax_cross_entropy
from alcurr.types import Array, Batch, Loss, Model, Pool, PyTree


class Scores(NamedTuple):
  # [N] int32, classes placed before the true one; 0 is right. None where the
  # labels are not classes.
  rank: Array | None
  loss: Array  # [N] float32


def make_evaluate(
  model: Model,
  gather: Callable[[Pool, Array], Batch],
  batch_size: int,
  loss: Loss = softmax_cross_entropy,
) -> Callable[[tuple[PyTree, PyTree], Pool], Scores]:
  """A function ((params, model_state), pool) -> Scores, in eval mode.

  Args:
    model: the network.
    gather: (pool, index [B]) -> Batch.
    batch_size: B, examples at a time.
    loss: of each example, see `alcurr.training.losses`.
  """

  def evaluate(variables: tuple[PyTree, PyTree], pool: Pool) -> Scores:
    params, model_state = variables
    num_examples = pool.label.shape[0]
    size = min(batch_size, num_examples)
    num_batches = -(-num_examples // size)

    def score(index: Array) -> Scores:
      batch = gather(pool, index)
      # Nothing is random in eval mode; the key is a formality.
      logits, _ = model.apply(
        jax.random.key(0), params, model_state, batch.image, train=False
      )
      rank = _rank(logits, batch.label) if are_classes(batch.label) else None
      return Scores(rank, loss(logits, batch.label))

    # The last batch is filled up with the last example, which is cut again.
    index = jnp.arange(num_batches * size).clip(max=num_examples - 1)
    scores = jax.lax.map(score, index.reshape(num_batches, size))
    return jax.tree.map(lambda x: x.reshape(-1)[:num_examples], scores)

  return evaluate


def _rank(logits: Array, label: Array) -> Array:
  """The classes placed before the true one: [B] int32."""
  label = label[:, None]
  true = jnp.take_along_axis(logits, label, axis=1)
  # Among equal logits the lower class goes first, as in lax.top_k. What is not
  # a number is never right: all go before it.
  ahead = ~(logits <= true) | (
    (logits == true) & (jnp.arange(logits.shape[1]) < label)
  )
  return ahead.sum(1).astype(jnp.int32)


def summarize(scores: Scores) -> dict[str, float]:
  """The means over examples: loss and, of classes, top1, top3 and MAP@3 (as
  `map3`)."""
  loss = float(np.asarray(scores.loss, np.float64).mean())
  if scores.rank is None:
    return {"loss": loss}
  rank = np.asarray(scores.rank)
  return {
    "top1": float((rank < 1).mean()),
    "top3": float((rank < 3).mean()),
    # One true class: its average precision is 1 / its place, of the first 3.
    "map3": float(np.where(rank < 3, 1 / (rank + 1), 0).mean()),
    "loss": loss,
  }


def selection_metric(figures: Mapping[str, Any]) -> float:
  """What the better of two models has more of: top-1, or less of loss.

  Args:
    figures: of `summarize`.
  """
  return figures["top1"] if "top1" in figures else -figures["loss"]


def accuracy_by(scores: Scores, group: np.ndarray) -> list[float | None]:
  """Top-1 within each group, [G]; None for a group without examples."""
  right = np.bincount(group, np.asarray(scores.rank) < 1)
  count = np.bincount(group)
  return [
    float(r / c) if c else None for r, c in zip(right, count, strict=True)
  ]


def report(scores: Scores, pool: Pool) -> dict[str, Any]:
  """All figures of a pool: the means and, of classes, top-1 by class and by
  arm."""
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
