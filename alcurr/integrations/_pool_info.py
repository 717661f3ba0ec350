"""Pools that hold only what a sampler must know of a loop's own examples."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.data import partitions
from alcurr.integrations._arrays import read_floats, to_numpy
from alcurr.types import Pool, Sampler, Stored


def pool_info(
  sampler: Sampler,
  labels: ArrayLike | None = None,
  difficulty: ArrayLike | None = None,
  num_arms: int = 10,
  scores: Mapping[str, ArrayLike] | None = None,
) -> Pool:
  """Builds a pool of N examples without their images, as NumPy arrays.

  Args:
    sampler: only the partitions of its spec are made.
    labels: [N], classes: integers from 0, or strings, which are sorted; None
      for samplers that need no classes.
    difficulty: [N], larger is harder, such as each example's loss under an
      earlier model; None for samplers that need none.
    num_arms: K, for partitions by difficulty; fewer if most classes are rare.
    scores: [N] by name, that the sampler reads itself (`spec.scores`), such as
      the losses of a model trained on other examples.

  Returns:
    A pool without images, whose indices refer to the loop's own examples.

  Raises:
    UserError: arrays do not fit, or the sampler needs those that are None.
  """
  if labels is None and difficulty is None:
    raise UserError("missing", "pool_info", "expected labels or difficulty")
  labels, difficulty = to_numpy((labels, difficulty))
  size = len(np.asarray(difficulty if labels is None else labels))
  named = {
    name: _read_scores(values, size, f"scores.{name}")
    for name, values in (scores or {}).items()
  }
  class_names, label = ("all",), np.zeros(size, np.int32)
  if labels is not None:
    class_names, label = _read_labels(labels)
  ranking = np.zeros(size, np.float32)
  if difficulty is not None:
    ranking = _read_scores(difficulty, size, "difficulty")
  specs.check_range("num_arms", num_arms, 1)
  built = {}
  for name in sampler.spec.partitions:
    specs.check_choice("partition", name, partitions.PARTITIONS)
    if difficulty is None and name not in partitions.UNSCORED:
      text = f"the partition {name!r} needs that of each example, as its loss"
      raise UserError("missing", "difficulty", text)
    if labels is None and name != "difficulty_in_pool":
      text = f"the partition {name!r} needs them; 'difficulty_in_pool' does not"
      raise UserError("missing", "labels", text)
    with specs.errors_in("pool_info"):
      count = partitions.fit_num_arms(name, label, num_arms, class_names)
      built[name] = partitions.PARTITIONS[name](label, ranking, count)
  row = np.arange(size, dtype=np.int32)
  return Pool(Stored(row), label, named | {"difficulty": ranking}, built)


def _read_scores(values: ArrayLike, size: int, place: str) -> np.ndarray:
  """Returns [N] float32."""
  try:
    return read_floats(values, (size,), place)
  except UserError as error:
    raise UserError("data", place, error.text) from error


def _read_labels(labels: ArrayLike) -> tuple[tuple[str, ...], np.ndarray]:
  """Returns the classes' names and [N] int32."""
  masked = np.ma.is_masked(labels)
  labels = np.asarray(labels)
  kind = labels.dtype.kind
  if labels.ndim != 1 or not len(labels) or kind not in "iuUS" or masked:
    text = "expected [N] integers or strings, none masked, got "
    raise UserError("type", "labels", f"{text}{labels.shape} {labels.dtype}")
  names, label = np.unique(labels, return_inverse=True)
  if kind in "iu" and not np.array_equal(names, np.arange(len(names))):
    text = f"{names[0]} to {names[-1]} for {len(names)} classes"
    text = f"expected classes numbered from 0 without gaps, got {text}"
    raise UserError("range", "labels", text)
  return tuple(map(str, names)), label.astype(np.int32)
