"""A pool of examples that are elsewhere: what a sampler knows of them."""

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
  """What a sampler has to know of N examples, in NumPy arrays.

  Args:
    sampler: whose partitions are made, and no others.
    labels: [N], the class of each example, integers from 0 or strings, whose
      classes are in the order of the alphabet; None where there are none, for
      samplers that need no classes.
    difficulty: [N], larger is harder, such as each example's loss under a
      model that was trained before; None for samplers that need none.
    num_arms: K, for partitions by difficulty.

  Returns:
    A pool without images, whose indices are those of the loop's own examples.

  Raises:
    UserError: arrays that do not fit, or that the sampler needs and lacks.
  """
  if labels is None and difficulty is None:
    raise UserError("pool_info: give labels, or the difficulty of examples.")
  names, label = _labels(labels, difficulty)
  scores = _difficulty(difficulty, len(label))
  if num_arms < 1:
    raise UserError(f"num_arms must be at least 1, got {num_arms}.")
  made = {}
  for name in sampler.spec.partitions:
    if name not in partitions.PARTITIONS:
      raise UserError(
        f"arms: no {name!r}. {specs.nearest(name, partitions.PARTITIONS)}"
      )
    if difficulty is None and name not in partitions.UNSCORED:
      raise UserError(
        f"the sampler draws from the arms {name!r}; give the difficulty of "
        "each example, larger is harder, such as its loss."
      )
    if labels is None and name != "difficulty_in_pool":
      raise UserError(
        f"the sampler draws from the arms {name!r}; give the labels, or make "
        "it with arms='difficulty_in_pool', which need none."
      )
    with specs.errors_in("pool_info"):
      if name in partitions.IN_CLASS:
        partitions.check_num_arms(label, num_arms, names)
      made[name] = partitions.PARTITIONS[name](label, scores, num_arms)
  row = np.arange(len(label), dtype=np.int32)
  return Pool(Stored(row), label, {"difficulty": scores}, made)


def _labels(
  labels: ArrayLike | None, difficulty: ArrayLike | None
) -> tuple[tuple[str, ...], np.ndarray]:
  """The classes' names, and [N] int32; of one class where none are given."""
  if labels is None:
    return ("all",), np.zeros(len(np.asarray(difficulty)), np.int32)
  labels = np.asarray(labels)
  if labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iuUS":
    raise UserError(
      "labels must be [N] integers or strings, one for each example, got "
      f"{list(labels.shape)} {labels.dtype}."
    )
  names, label = np.unique(labels, return_inverse=True)
  if labels.dtype.kind in "iu" and not np.array_equal(
    names, np.arange(len(names))
  ):
    raise UserError(
      "labels must count the classes from 0 without gaps, got "
      f"{names[0]} to {names[-1]} for {len(names)} classes."
    )
  return tuple(map(str, names)), label.astype(np.int32)


def _difficulty(difficulty: ArrayLike | None, count: int) -> np.ndarray:
  """[N] float32; zeros where none is given."""
  if difficulty is None:
    return np.zeros(count, np.float32)
  scores = np.asarray(difficulty, np.float32)
  if scores.shape != (count,) or not np.isfinite(scores).all():
    raise UserError(
      f"difficulty must be a finite number for each of the {count} examples, "
      f"got shape {list(scores.shape)}."
    )
  return scores
