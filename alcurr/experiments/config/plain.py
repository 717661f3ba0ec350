"""Values of a config: from Python, NumPy and JAX, by one set of rules.

A config holds texts, numbers, True, False, None, and sequences and dicts of
them. `configs/*.py`, `alcurr.compare` and a saved config.json all pass here.
"""

import numbers
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict, config_dict

from alcurr.core.errors import UserError
from alcurr.core.specs import quoted

Tree = dict[str, Any]

# Fields whose text is a list, which may be given as one.
_LISTS = (
  "data.channels",
  "data.classes",
  "data.label_noise_in",
  "thresholds",
  "tracking",
)


def convert(value: Any, place: str) -> Any:
  """Returns a value as a config holds it.

  Scalars and arrays of NumPy, JAX and PyTorch become Python's, paths become
  texts and dtypes their names.

  Raises:
    UserError: it is none of them.
  """
  if isinstance(value, ConfigDict):
    value = value.to_dict()
  if isinstance(value, Mapping):
    return {str(k): convert(v, f"{place}.{k}") for k, v in value.items()}
  if isinstance(value, os.PathLike):
    value = os.fspath(value)
  if value is None or isinstance(value, bool):
    return value
  for kind, base in (
    (str, str),
    (int, numbers.Integral),
    (float, numbers.Real),
  ):
    if isinstance(value, base):
      return kind(value)
  # A NamedTuple is a record, not several values.
  single = isinstance(value, bytes | bytearray) or hasattr(value, "_fields")
  if isinstance(value, Sequence) and not single:
    items = [convert(item, place) for item in value]
    return tuple(items) if isinstance(value, tuple) else items
  if isinstance(value, np.dtype):
    return value.name
  if hasattr(value, "dtype"):
    if callable(value):  # jnp.float32 and the like
      return np.dtype(value).name
    array = np.asarray(value)
    if array.dtype.kind == "V":  # bfloat16 and the like
      array = array.astype(np.float32)
    return convert(array.tolist(), place)
  expected = "expected numbers, texts, or sequences or dicts of them, got "
  raise UserError("type", place, expected + quoted(repr(value)))


def normalize(config: ConfigDict, kinds: Mapping[str, type]) -> ConfigDict:
  """Returns a config of plain values, as locked as the given one.

  `kinds` has the types of fields by their dotted names. A number becomes a text
  where a text is expected, a list becomes one with commas, and a whole number
  becomes a float. What does not fit is left to the schema to refuse.

  Raises:
    UserError: a value that no config can hold.
  """
  values = {k: convert(v, k) for k, v in config.to_dict().items()}
  fitted = _fit(values, kinds)
  samplers = fitted.get("samplers")
  for sampler in samplers.values() if isinstance(samplers, dict) else ():
    if isinstance(sampler, dict) and isinstance(sampler.get("run"), dict):
      sampler["run"] = _fit(sampler["run"], kinds)
  scores = fitted.get("scores")
  for name, score in scores.items() if isinstance(scores, dict) else ():
    if isinstance(score, dict):
      scores[name] = _fit(score, kinds, "difficulty.")
  data = fitted.get("data")
  sources = data.get("sources") if isinstance(data, dict) else None
  for name, source in sources.items() if isinstance(sources, dict) else ():
    if isinstance(source, dict):
      sources[name] = _fit(source, kinds, "data.")
  result = to_config(fitted)
  return result.lock() if config.is_locked else result


def _fit(values: Tree, kinds: Mapping[str, type], prefix: str = "") -> Tree:
  fitted = {}
  for key, value in values.items():
    name = f"{prefix}{key}"
    if isinstance(value, dict):
      fitted[key] = _fit(value, kinds, f"{name}.")
    else:
      fitted[key] = _fit_field(name, value, kinds.get(name))
  return fitted


def _fit_field(name: str, value: Any, kind: type | None) -> Any:
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  if is_number and kind in (str, float):
    try:
      return kind(value)
    except OverflowError as error:
      raise UserError("range", name, "expected a smaller number") from error
  if isinstance(value, list | tuple) and name in _LISTS:
    items = [_fit_field(name, item, str) for item in value]
    for item in items:
      if not isinstance(item, str) or "," in item:
        text = f"expected texts without commas, got {quoted(repr(item))}"
        raise UserError("type", name, text)
    return ",".join(items)
  return value


def to_config(values: Mapping[str, Any]) -> ConfigDict:
  """Returns a config whose types are checked when it is complete.

  Names may have dots. An option may set a field that is None.
  """

  def with_references(value: Any) -> Any:
    if isinstance(value, Mapping):
      return {k: with_references(v) for k, v in value.items()}
    return config_dict.placeholder(object) if value is None else value

  values = with_references(values)
  return ConfigDict(values, type_safe=False, allow_dotted_keys=True)


def merge(config: ConfigDict, changes: Mapping[str, Any]) -> ConfigDict:
  """Returns a config with other values of some fields.

  Args:
    config: the values that remain, not changed.
    changes: values by field. A name may be dotted, `optimizer.learning_rate`. A
      dict sets the fields that it names, and the others keep their values.

  Raises:
    UserError: a value in place of a group of fields, or no value of a config.
  """
  values = config.to_dict()
  _merge(values, {k: convert(v, k) for k, v in dict(changes).items()}, "")
  result = to_config(values)
  return result.lock() if config.is_locked else result


def _merge(values: Tree, changes: Tree, prefix: str) -> None:
  for name, value in changes.items():
    # A sampler's name may have dots too.
    known = [key for key in values if f"{name}.".startswith(f"{key}.")]
    first = name if isinstance(value, dict) else name.split(".")[0]
    key = max(known, key=len, default=first)
    if rest := name[len(key) + 1 :]:
      value = {rest: value}
    place, old = f"{prefix}{key}", values.get(key)
    if isinstance(value, dict):
      if not isinstance(old, dict):
        values[key] = {}
      _merge(values[key], value, f"{place}.")
    elif isinstance(old, dict):
      text = f"expected a dict of its fields, got {value!r}"
      raise UserError("type", place, text)
    else:
      values[key] = value
