"""Metrics of a model on a pool: loss, top-1, top-3, MAP@3, by class and by arm.

The device returns two numbers per example, and these metrics are means of them.
So a metric by class or by arm, or an interval, needs no second pass. Targets
have the loss, which is the squared error, and R². The area under the ROC curve
is no such mean: the device counts examples by class and probability for it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.types import Array, Pool

# Bins of a class's log odds, of equal width; the outer ones are open. Beyond
# the limit, float32 does not tell probabilities from 1.
BINS = 1024
_MOST_LOG_ODDS = 16.0
MAX_FEW = 3  # classes: of so few, each example is right within the first three


class Scores(NamedTuple):
  """A model's result on each of N examples."""

  # [N] int32, the classes ranked before the true one; 0 is right. None if the
  # labels are not classes.
  rank: Array | None
  loss: Array  # [N] float32
  # [V, 2, BINS] int32, the examples of other classes and of this one, by the
  # log odds of the class; None: not counted
  counts: Array | None = None


def start_counts(num_classes: int) -> Array:
  """Returns the counts of no examples: [V, 2, BINS] int32."""
  return jnp.zeros((num_classes, 2, BINS), jnp.int32)


def count_by_odds(
  counts: Array, logits: Array, label: Array, mask: Array
) -> Array:
  """Counts more examples by class and log odds.

  Args:
    counts: [V, 2, BINS] int32, of those before; see `start_counts`.
    logits: [B, V].
    label: [B] int.
    mask: [B] bool, the examples that count.
  """
  size, num_classes = logits.shape
  log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
  odds = log_p - jnp.log(-jnp.expm1(log_p))
  share = (odds / _MOST_LOG_ODDS + 1) / 2
  place = jnp.nan_to_num(share * BINS, posinf=BINS, neginf=0)
  place = place.clip(0, BINS - 1).astype(jnp.int32)  # [B, V]
  of_class = jnp.arange(num_classes, dtype=jnp.int32)
  is_class = (label[:, None] == of_class).astype(jnp.int32)
  added = jnp.broadcast_to(mask[:, None], (size, num_classes)).astype(jnp.int32)
  return counts.at[of_class[None], is_class, place].add(added)


def macro_auc(counts: np.ndarray) -> tuple[float, float] | None:
  """Returns the area under the ROC curve, and the most that it may be off.

  It is the mean over the classes, each against all others, of the probability
  that an example of the class has higher odds of it than another. Two examples
  in one bin count half, so that the error is at most half of their share.
  With two classes it is the usual area.

  Args:
    counts: [V, 2, BINS], see `Scores`.

  Returns:
    None without a class that some examples are of, and some are not.
  """
  others, own = np.moveaxis(np.asarray(counts, np.float64), 1, 0)
  pairs = others.sum(1) * own.sum(1)
  below = np.cumsum(others, 1) - others
  ordered, tied = (own * below).sum(1), (own * others).sum(1)
  if not (known := pairs > 0).any():
    return None
  area = (ordered[known] + tied[known] / 2) / pairs[known]
  error = tied[known] / 2 / pairs[known]
  return float(area.mean()), float(error.mean())


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


def explained(loss: np.ndarray, target: np.ndarray) -> np.ndarray:
  """Returns 1 - error / variance of each example, whose mean is R²: [..., N].

  Args:
    loss: [..., N], the mean squared error over the outputs.
    target: [N] or [N, V]. R² is nan if all are equal.
  """
  target = np.asarray(target, np.float64).reshape(len(target), -1)
  variance = target.var(0).mean()
  with np.errstate(divide="ignore", invalid="ignore"):
    return 1 - np.asarray(loss, np.float64) / (variance or np.nan)


def summarize(scores: Scores, label: np.ndarray) -> dict[str, float]:
  """Returns the mean loss, and top1, top3 and map3 (MAP@3), or r2.

  There is no top3 of up to three classes, which would be 1. `label` [N] are the
  classes, or the targets.
  """
  loss = float(np.asarray(scores.loss, np.float64).mean())
  if scores.rank is None:
    r2 = float(explained(scores.loss, np.asarray(label)).mean())
    return {"r2": r2, "loss": loss}
  rank = np.asarray(scores.rank)
  few = scores.counts is not None and len(scores.counts) <= MAX_FEW
  return {
    "top1": float((rank < 1).mean()),
    **({} if few else {"top3": float((rank < 3).mean())}),
    # With one true class, the average precision is 1 / its place.
    "map3": float(np.where(rank < 3, 1 / (rank + 1), 0).mean()),
    "loss": loss,
  }


def selection_metric(metrics: Mapping[str, Any]) -> float:
  """Returns top-1 or, for targets, R²; larger is better."""
  return metrics["top1"] if "top1" in metrics else metrics["r2"]


def accuracy_by(scores: Scores, group: np.ndarray) -> list[float | None]:
  """Returns top-1 within each group; None for an empty one.

  `group` [N] has the numbers of the examples' groups.
  """
  right = np.bincount(group, np.asarray(scores.rank) < 1)
  counts = zip(right.tolist(), np.bincount(group).tolist(), strict=True)
  return [num / total if total else None for num, total in counts]


def report(scores: Scores, pool: Pool) -> dict[str, Any]:
  """Returns the means and, for classes, top-1 by class and by arm.

  `balanced_accuracy` is the mean of top-1 over the classes that have examples;
  for `auc` see `macro_auc`.
  """
  metrics = summarize(scores, pool.label)
  if scores.rank is None:
    return metrics
  by_class = accuracy_by(scores, np.asarray(pool.label))
  present = [accuracy for accuracy in by_class if accuracy is not None]
  metrics["balanced_accuracy"] = float(np.mean(present))
  auc = None if scores.counts is None else macro_auc(scores.counts)
  if auc is not None:
    metrics["auc"] = auc[0]
  return metrics | {
    "top1_by_class": by_class,
    "top1_by_arm": {
      name: accuracy_by(scores, np.asarray(partition.arm))
      for name, partition in pool.partitions.items()
      if name != "label"
    },
  }
