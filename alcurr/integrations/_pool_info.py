"""Pools that hold only what a sampler must know of a loop's own examples."""

import numpy as np
from numpy.typing import ArrayLike

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.data import partitions
from alcurr.types import Pool, Sampler, Stored


def pool_info(
  sampler: Sampler,
  labels: ArrayLike | None = None,
  difficulty: ArrayLike | None = None,
  num_arms: int = 10,
) -> Pool:
  """Builds a pool of N examples without their images, as NumPy arrays.

  Args:
    sampler: only the partitions of its spec are made.
    labels: [N], classes: integers from 0, or strings, which are sorted; None
      for samplers that need no classes.
    difficulty: [N], larger is harder, such as each example's loss under an
      earlier model; None for samplers that need none.
    num_arms: K, for partitions by difficulty.

  Returns:
    A pool without images, whose indices refer to the loop's own examples.

  Raises:
    UserError: arrays do not fit, or the sampler needs those that are None.
  """
  if labels is None and difficulty is None:
    raise UserError("missing", "pool_info", "expected labels or difficulty")
  names, label = _read_labels(labels, difficulty)
  scores = _read_difficulty(difficulty, len(label))
  if num_arms < 1:
    raise UserError("range", "num_arms", f"expected at least 1, got {num_arms}")
  built = {}
  for name in sampler.spec.partitions:
    if name not in partitions.PARTITIONS:
      raise UserError(
        "unknown",
        "partition",
        f"no {name!r}. {specs.nearest(name, partitions.PARTITIONS)}",
      )
    if difficulty is None and name not in partitions.UNSCORED:
      raise UserError(
        "missing",
        "difficulty",
        f"the partition {name!r} needs the difficulty of each example, such as "
        "its loss",
      )
    if labels is None and name != "difficulty_in_pool":
      raise UserError(
        "missing",
        "labels",
        f"the partition {name!r} needs them; 'difficulty_in_pool' does not",
      )
    with specs.errors_in("pool_info"):
      if name in partitions.IN_CLASS:
        partitions.check_num_arms(label, num_arms, names)
      built[name] = partitions.PARTITIONS[name](label, scores, num_arms)
  row = np.arange(len(label), dtype=np.int32)
  return Pool(Stored(row), label, {"difficulty": scores}, built)


def _read_labels(
  labels: ArrayLike | None, difficulty: ArrayLike | None
) -> tuple[tuple[str, ...], np.ndarray]:
  """Returns the classes' names and [N] int32; one class if none are given."""
  if labels is None:
    return ("all",), np.zeros(len(np.asarray(difficulty)), np.int32)
  labels = np.asarray(labels)
  if labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iuUS":
    raise UserError(
      "type",
      "labels",
      "expected [N] integers or strings, got "
      f"{list(labels.shape)} {labels.dtype}",
    )
  names, label = np.unique(labels, return_inverse=True)
  if labels.dtype.kind in "iu" and not np.array_equal(
    names, np.arange(len(names))
  ):
    raise UserError(
      "range",
      "labels",
      "expected classes numbered from 0 without gaps, got "
      f"{names[0]} to {names[-1]} for {len(names)} classes",
    )
  return tuple(map(str, names)), label.astype(np.int32)


def _read_difficulty(difficulty: ArrayLike | None, count: int) -> np.ndarray:
  """Returns [N] float32; zeros if none is given."""
  if difficulty is None:
    return np.zeros(count, np.float32)
  scores = np.asarray(difficulty, np.float32)
  if scores.shape != (count,) or not np.isfinite(scores).all():
    raise UserError(
      "data",
      "difficulty",
      f"expected {count} finite numbers, one for each example, got shape "
      f"{list(scores.shape)}",
    )
  return scores
