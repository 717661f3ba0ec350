"""Pools that hold only what a sampler must know of a loop's own examples."""

# So that `help` shows ArrayLike by its name.
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from alcurr.core import specs
from alcurr.core.arguments import check_record
from alcurr.core.errors import UserError
from alcurr.data import partitions
from alcurr.data.labels import plain_array, read_labels
from alcurr.integrations._arrays import read_floats
from alcurr.types import ArmNames, Pool, Sampler, Stored


def pool_info(
  sampler: Sampler,
  labels: ArrayLike | None = None,
  difficulty: ArrayLike | None = None,
  num_arms: int = 10,
  scores: Mapping[str, ArrayLike] | None = None,
  groups: ArrayLike | None = None,
) -> Pool:
  """Builds a pool of N examples without their images, as NumPy arrays.

  Args:
    sampler: only the partitions of its spec are made.
    labels: [N], classes, as `alcurr.compare` takes them: strings, bools or
      whole numbers; None for samplers that need no classes. The classes are
      sorted and numbered from 0, so labels 1, 2 and 5 become 0, 1 and 2. All
      labels of a draw are such numbers, and so are the columns of logits.
    difficulty: [N], larger is harder, such as each example's loss under an
      earlier model; None for samplers that need none.
    num_arms: K, for partitions by difficulty; fewer if most classes are rare.
    scores: [N] by name, other numbers that a sampler may read, such as lengths
      for `curriculum(score="length")`.
    groups: [N], integers or strings: the source or domain of each example, for
      samplers that draw from the partition "groups".

  Returns:
    A pool without images, whose indices refer to the loop's own examples.

  Raises:
    UserError: arrays do not fit, or the sampler needs those that are None.
  """
  with specs.errors_in("pool_info"):
    check_record(Sampler, sampler=sampler)
  given = dict(scores or {})
  if difficulty is not None:
    given["difficulty"] = difficulty
  if labels is None and groups is None and not given:
    text = "expected labels, difficulty or groups"
    raise UserError("missing", "pool_info", text)
  every = {"labels": labels, "groups": groups, **given}
  place, first = next((k, x) for k, x in every.items() if x is not None)
  size = len(np.atleast_1d(plain_array(first, place, object)))
  class_names, label = ("all",), np.zeros(size, np.int32)
  if labels is not None:
    label, class_names = read_labels(labels, size, at_least=1)
  by_name = {name: _read_score(x, size, name) for name, x in given.items()}
  for name in sampler.spec.scores:
    if name not in by_name:
      text = f"the sampler reads {name!r}, a number for each example"
      raise UserError("missing", name, text)
  by_name.setdefault("difficulty", np.zeros(size, np.float32))
  specs.check_range("num_arms", num_arms, 1)
  group, names = None, {"label": class_names}
  if groups is not None:
    group, names["groups"] = read_labels(
      groups, size, place="groups", names_place="group_names"
    )
  built = {}
  for name in sampler.spec.partitions:
    specs.check_choice("partition", name, partitions.PARTITIONS)
    if "difficulty" not in given and name not in partitions.UNSCORED:
      text = f"the partition {name!r} needs that of each example, as its loss"
      raise UserError("missing", "difficulty", text)
    partitions.require_given(name, {"groups": group}, "groups")
    if labels is None and name not in ("difficulty_in_pool", "groups"):
      text = f"the partition {name!r} needs them; 'difficulty_in_pool' does not"
      raise UserError("missing", "labels", text)
    with specs.errors_in("pool_info"):
      count = partitions.fit_num_arms(name, label, num_arms, class_names)
      values = group if name in partitions.GIVEN else label
      arms = partitions.PARTITIONS[name](values, by_name["difficulty"], count)
      built[name] = arms._replace(names=ArmNames(names.get(name, ())))
  row = np.arange(size, dtype=np.int32)
  return Pool(Stored(row), label, by_name, built)


def _read_score(score: ArrayLike, size: int, name: str) -> np.ndarray:
  """Returns a finite number for each example, [N] float32."""
  try:
    return read_floats(score, (size,), name)
  except UserError as error:
    raise UserError("data", name, error.text) from error
