"""Examples that are no images: rows of numbers, tokens of texts."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from alcurr.core.errors import UserError
from alcurr.data.labels import plain_array, require
from alcurr.types import PyTree

_PLACE = "inputs"


def input_shape(inputs: PyTree) -> PyTree:
  """Returns what factories of models are told about inputs [B, ...].

  It is (H, W, C) of images. Of rows it is a `jax.ShapeDtypeStruct`, or a dict
  of them, without the axis of the batch.
  """
  if getattr(inputs, "ndim", 0) == 4:
    return tuple(inputs.shape[1:])
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), inputs
  )


def shape_to_json(shape: PyTree) -> Any:
  """Returns an `input_shape` as lists, texts and dicts."""
  if isinstance(shape, tuple):
    return [*shape]
  if isinstance(shape, dict):
    return {name: shape_to_json(value) for name, value in shape.items()}
  return [[*shape.shape], str(shape.dtype)]


def shape_from_json(value: Any) -> PyTree:
  """Returns the `input_shape` of `shape_to_json`."""
  if isinstance(value, dict):
    return {name: shape_from_json(part) for name, part in value.items()}
  if value and isinstance(value[0], list):
    return jax.ShapeDtypeStruct(tuple(value[0]), np.dtype(value[1]))
  return tuple(value)


def has_columns(inputs: Any) -> bool:
  """Returns whether inputs are a data frame, or a dict of arrays."""
  return isinstance(inputs, Mapping) or hasattr(inputs, "columns")


def check_rows(inputs: Any) -> PyTree:
  """Returns [N, F], or a dict of arrays [N, ...], of float32, int32 or bool.

  Args:
    inputs: an array or a data frame of N rows; or a dict of arrays, all of N.
      Whole numbers of an array stay whole: they may be tokens. The columns of
      a data frame become one array of floats.

  Raises:
    UserError: texts, missing values, numbers that do not fit, or unequal N.
  """
  if hasattr(inputs, "columns"):
    return _check_array(_of_frame(inputs), _PLACE)
  if not isinstance(inputs, Mapping):
    return _check_array(plain_array(inputs, _PLACE), _PLACE)
  require(len(inputs) > 0, _PLACE, "at least one array", "none")
  rows = {}
  for name, value in inputs.items():
    place = f"{_PLACE}[{name!r}]"
    rows[str(name)] = _check_array(plain_array(value, place), place)
  lengths = {name: len(array) for name, array in rows.items()}
  require(len({*lengths.values()}) == 1, _PLACE, "one length for all", lengths)
  return rows


def _of_frame(frame: Any) -> np.ndarray:
  """Returns the columns of a pandas data frame as floats: [N, F] float32."""
  texts = [name for name in frame.columns if not _is_numeric(frame[name])]
  if texts:
    few = ", ".join(map(repr, texts[:3])) + ", ..." * (len(texts) > 3)
    text = "expected columns of numbers, perhaps by pandas.get_dummies, got "
    raise UserError("type", _PLACE, f"{text}{few}")
  return frame.to_numpy(np.float32, na_value=np.nan)


def _is_numeric(column: Any) -> bool:
  return getattr(column.dtype, "kind", "O") in "biuf"


def _check_array(array: np.ndarray, place: str) -> np.ndarray:
  ok = array.ndim >= 1 and array.size > 0
  require(ok, place, "[N, ...], not empty", list(array.shape))
  require(array.dtype.kind in "biuf", place, "numbers", array.dtype)
  if array.dtype.kind == "b":
    return array
  if array.dtype.kind == "f":
    array = array.astype(np.float32)
    bad = int((~np.isfinite(array)).any(tuple(range(1, array.ndim))).sum())
    require(not bad, place, "finite numbers", f"others in {bad} rows")
    return array
  limits = np.iinfo(np.int32)
  low, high = int(array.min()), int(array.max())
  ok = limits.min <= low and high <= limits.max
  require(ok, place, "whole numbers of 32 bits", f"{low} to {high}")
  return array.astype(np.int32)
