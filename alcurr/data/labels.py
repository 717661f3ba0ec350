"""Labels as people have them: numbers or names, of NumPy, pandas or lists."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from alcurr.core.errors import UserError
from alcurr.data.pool import check_class_names

_KINDS = {
  bool: "True or False",
  int: "numbers",
  float: "numbers",
  str: "strings",
  bytes: "bytes",
}
# Python's texts of missing values, which NumPy makes strings among strings.
_MISSING = frozenset({"nan", "NaN", "None", "<NA>", "NaT"})


def require(ok: bool, place: Any, expected: str, got: object) -> None:
  """Raises a UserError of data unless `ok`."""
  if not ok:
    raise UserError("data", place, f"expected {expected}, got {got}")


def plain_array(value: Any, place: str, lists_as: Any = None) -> np.ndarray:
  """Returns an array of NumPy, pandas, JAX or PyTorch, or of nested lists.

  Args:
    value: the array.
    place: the argument's name, for errors.
    lists_as: the dtype of lists, which have none of their own.

  Raises:
    UserError: masked values, lists of unequal lengths, or no array at all.
  """
  is_list = isinstance(value, list | tuple)
  masked = np.ma.is_masked(value)
  if is_list or str(getattr(value, "dtype", "")) == "object":
    masked = any(map(np.ma.is_masked, value))
  require(not masked, place, "values that are not masked", "masked ones")
  try:
    if hasattr(value, "detach"):  # a tensor that requires a gradient
      value = value.detach().cpu()
    return np.asarray(value, lists_as if is_list else None)
  # PyTorch's, of tensors that NumPy cannot have, are of the last two types.
  except (ValueError, TypeError, RuntimeError) as error:
    raise UserError("data", place, f"expected an array ({error})") from error


def read_labels(
  labels: Any,
  count: int,
  class_names: Sequence[str] | None = None,
  place: str = "labels",
  names_place: str = "class_names",
  at_least: int = 2,
  every_name: bool = True,
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Returns a class of each example, [N] int32, and the classes' names.

  Args:
    labels: [N] or [N, 1]; strings, bools, or whole numbers of any type.
    count: N.
    class_names: for strings, their order; for numbers, the names of 0, 1, ...
      None: the labels are the names, sorted.
    place: the name of `labels`, for errors.
    names_place: the name of `class_names`.
    at_least: the fewest classes, 1 or 2.
    every_name: whether each class must have an example. Otherwise one class is
      enough.

  Raises:
    UserError: labels that are missing, mixed, or of another shape or type; or
      classes without examples, or with names that look the same.
  """
  labels = plain_array(labels, place, object)
  if labels.ndim > 1 and labels.size == len(labels):
    labels = labels.reshape(-1)
  expected = f"[{count}], one for each example"
  if labels.shape[:1] == (count,) and _is_one_hot(labels):
    expected += f"; of one-hot {place}, {place}.argmax(1)"
  shape, kind = list(labels.shape), labels.dtype.kind
  if not shape:
    expected += "; of a data frame's column, the column itself"
  require(labels.shape == (count,), place, expected, shape or labels.item())
  # Not dates, which become numbers.
  require(kind in "biufOTUS", place, "strings or numbers", labels.dtype)
  if kind in "biuf":
    values, positions = np.unique(labels, return_inverse=True)
    values = _of_one_kind(values.tolist(), place)
  else:
    every = _of_one_kind(labels.tolist(), place)
    values = sorted({*every})
    index = {value: i for i, value in enumerate(values)}
    positions = np.array([index[value] for value in every])
  names = tuple(map(str, values if class_names is None else class_names))
  unique = len({*names}) == len(names)
  require(unique, names_place, "unique names", names)
  if class_names is None:
    _check_plausible(values, place)
  elif isinstance(values[0], str):
    expected = f"one of {names_place}"
    at = _positions(values, names, expected, place, every_name)
    positions = at[positions]
  else:
    numbers = range(len(names))
    expected = f"0 to {len(names) - 1}"
    at = _positions(values, numbers, expected, place, every_name)
    positions = at[positions]
  if len(names) > 1 or (at_least > 1 and every_name):
    check_class_names(names, "classes" if place == "labels" else place)
  return positions.astype(np.int32), names


def check_spelling(
  label: np.ndarray,
  names: Sequence[str],
  groups: np.ndarray,
  group_names: Sequence[str],
) -> None:
  """Refuses a class that groups spell differently, such as "Cat" and "cat".

  Where a group has both names, such as letters, they are two classes.

  Args:
    label: [N] int32, indices into `names`.
    names: of the classes.
    groups: [N] int32, indices into `group_names`.
    group_names: of the groups.

  Raises:
    UserError: two names that differ only in case, in different groups.
  """
  by_look: dict[str, int] = {}
  for new, name in enumerate(names):
    old = by_look.setdefault(" ".join(name.split()).casefold(), new)
    having = [np.unique(groups[label == c]) for c in (old, new)]
    if old == new or len(np.intersect1d(*having)):
      continue
    first, second = (
      f"{names[c]!r} in {group_names[group[0]]!r}"
      for c, group in zip((old, new), having, strict=True)
    )
    text = "expected one spelling of a class, or class_names that have both, "
    raise UserError("data", "labels", f"{text}got {first} and {second}")


def read_targets(targets: Any, count: int) -> np.ndarray:
  """Returns numbers to predict: [N] or [N, V] float32.

  Raises:
    UserError: another shape, no numbers, or numbers that are not finite.
  """
  targets = plain_array(targets, "labels", float)
  shape, kind = list(targets.shape), targets.dtype.kind
  ok = targets.ndim in (1, 2) and len(targets) == count and targets.size > 0
  require(ok, "labels", f"[{count}] or [{count}, V]", shape)
  require(kind in "iuf", "labels", "numbers to predict", targets.dtype)
  targets = targets.astype(np.float32)
  bad = int((~np.isfinite(targets)).sum())
  require(not bad, "labels", "finite numbers", f"{bad} others")
  constant = (targets == targets[0]).all()
  require(not constant or count == 1, "labels", "different numbers", "one")
  return targets


def _is_one_hot(labels: np.ndarray) -> bool:
  if labels.ndim != 2 or labels.dtype.kind not in "biufO":
    return False
  ones = labels == 1
  return bool((ones | (labels == 0)).all() and (ones.sum(1) == 1).all())


def _of_one_kind(values: list, place: str) -> list:
  """Returns strings, bools or integers; refuses a mixture."""
  values = [v.item() if hasattr(v, "item") else v for v in values]
  kinds = {*map(_kind, values)}
  ok = len(kinds) == 1 and kinds <= {*_KINDS.values()}
  got = " and ".join(sorted(kinds))
  require(ok, place, "strings or whole numbers, of one kind", got)
  if kinds == {"bytes"}:
    return [value.decode("utf-8", "backslashreplace") for value in values]
  if kinds == {"numbers"}:
    fractions = [v for v in values if isinstance(v, float) and v % 1]
    expected = "whole numbers; for numbers to predict, regression=True"
    require(not fractions, place, expected, fractions[:1])
    return [int(value) for value in values]
  return values


def _kind(value: Any) -> str:
  name = type(value).__name__
  if name in ("NoneType", "NAType", "NaTType") or value != value:
    return "missing values"
  return _KINDS.get(type(value), name)


def _check_plausible(values: list, place: str) -> None:
  """Refuses names that mark missing labels, unless `class_names` has them."""
  if isinstance(values[0], str):
    missing = sorted(_MISSING & {*values})
    text = "a label for each; rename a class of this name"
    require(not missing, place, text, missing)
  else:
    text = "0 or more; if it is a class, not a mark, give strings"
    require(values[0] >= 0, place, text, values[0])


def _positions(
  values: list,
  names: Sequence[Any],
  expected: str,
  place: str,
  every_name: bool,
) -> np.ndarray:
  """Returns the position in `names` of each value."""
  index = {name: i for i, name in enumerate(names)}
  for value in values:
    require(value in index, place, expected, repr(value))
  unused = sorted({*index} - {*values})
  ok = not (every_name and unused)
  require(ok, place, "examples of all classes", f"none of {unused}")
  return np.array([index[value] for value in values])
