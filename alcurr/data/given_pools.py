"""One check of a pool that a user made, before anything reads it."""

from typing import Any

import jax
import numpy as np

from alcurr.core.errors import UserError
from alcurr.types import Fetched, Partition, Pool, Split, Strokes

_TEXTS = "OSUMm"  # kinds of arrays that JAX has none of


def check_pool(pool: Any, place: str, has_rows: bool = True) -> None:
  """Checks that a pool's parts are arrays of the same N examples.

  Args:
    pool: as a user gave it; its arrays may be traced.
    place: the argument's name, for errors.
    has_rows: whether the source is a PyTree of arrays with N rows, or one of
      alcurr's own; otherwise nothing is known of it.

  Raises:
    UserError: it is no Pool, or its parts do not fit each other.
  """
  if not isinstance(pool, Pool):
    text = f"expected an alcurr.Pool, got {type(pool).__name__}"
    raise UserError("type", place, text)
  _check_array(pool.label, f"{place}.label")
  dtype = pool.label.dtype
  if pool.label.ndim == 0 or not len(pool.label) or dtype.kind == "b":
    text = "expected the class of each example, a number from 0, or a target, "
    text += f"got {dtype} {list(pool.label.shape)}"
    raise UserError("data", f"{place}.label", text)
  size = len(pool.label)
  for name, score in pool.scores.items():
    _check_rows(score, size, f"{place}.scores[{name!r}]")
  for name, partition in pool.partitions.items():
    at = f"{place}.partitions[{name!r}]"
    if not isinstance(partition, Partition):
      text = "expected a Partition, as alcurr.data.make_partition returns, got "
      raise UserError("type", at, text + type(partition).__name__)
    _check_rows(partition.arm, size, at)
  source = pool.source
  if not has_rows or isinstance(source, Fetched | Split):
    return
  if isinstance(source, Strokes):
    source = source.drawing_start[1:]
  for path, leaf in jax.tree.leaves_with_path(source):
    at = jax.tree_util.keystr(path)
    _check_rows(leaf, size, f"{place}.source{at}")


def _check_rows(array: Any, size: int, place: str) -> None:
  _check_array(array, place)
  if array.shape[:1] != (size,):
    text = f"expected a row for each of the {size} labels, got shape "
    raise UserError("data", place, text + str(list(array.shape)))


def _check_array(array: Any, place: str) -> None:
  """Refuses data frames, lists, tensors, and arrays of texts."""
  got = type(array).__name__
  if isinstance(array, np.ndarray | jax.Array):
    if getattr(array.dtype, "kind", "") not in _TEXTS:
      return
    got = f"one of {array.dtype}"
  text = f"expected an array of numbers, of NumPy or JAX, got {got}"
  raise UserError("type", place, text)
