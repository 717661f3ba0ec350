"""Metrics of a model on a pool: loss, top-1, top-3, MAP@3, by class and by arm.

The device returns two numbers per example, and every metric is a mean of them.
So a metric by class or by arm, or an interval, needs no second pass. Labels
that are not classes have the loss alone.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from alcurr.types import Array, Pool


class Scores(NamedTuple):
  """A model's result on each of N examples."""

  # [N] int32, the classes ranked before the true one; 0 is right. None if the
  # labels are not classes.
  rank: Array | None
  loss: Array  # [N] float32


def rank(logits: Array, label: Array) -> Array:
  """Returns how many classes of [B, V] rank before the true one: [B] int32."""
  label = label[:, None]
  true = jnp.take_along_axis(logits, label, axis=1)
  # The lower class is first among equal logits, as in lax.top_k. A NaN is
  # never right: all other classes rank before it.
  before = ~(logits <= true) | (
    (logits == true)
    & (jnp.arange(logits.shape[1], dtype=label.dtype)[None] < label)
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
