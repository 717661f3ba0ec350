"""The fields of a config and their types, for configs made by hand.

What each means, and its default, stands in alcurr/experiments/config/defaults.py.
"""

import difflib
import numbers
import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from alcurr.core.errors import UserError

FIELDS: dict[str, type] = {
  "seed": int,
  "trials": int,
  "trials_by": str,
  "budget": str,
  "batch_size": int,
  "budget_basis": str,
  "train_on": str,
  "num_evals": int,
  "chunk_steps": int,
  "eval_batch_size": int,
  "baseline": str,
  "thresholds": str,
  "on_nonfinite": str,
  "cache_dir": str,
  "tracking": str,
  "tracking_uri": str,
  "checkpoint.minutes": float,
  "checkpoint.steps": int,
  "checkpoint.keep": int,
  "data.source": str,
  "data.dir": str,
  "data.classes": str,
  "data.max_per_class": int,
  "data.recognized_only": bool,
  "data.on_error": str,
  "data.num_examples": int,
  "data.seed": int,
  "data.scribble_fraction": float,
  "data.unfinished_fraction": float,
  "data.wrong_label_fraction": float,
  "data.valid_fraction": float,
  "data.test_fraction": float,
  "data.probe_fraction": float,
  "data.train_examples": int,
  "data.label_noise": float,
  "data.label_noise_in": str,
  "data.image_size": int,
  "data.render": str,
  "data.pool": str,
  "augment": str,
  "loss": str,
  "data.stroke_width": float,
  "data.stroke_decay": float,
  "data.channels": str,
  "model.name": str,
  "model.weights": str,
  "optimizer.name": str,
  "optimizer.learning_rate": float,
  "optimizer.schedule": str,
  "optimizer.backbone_lr_multiplier": float,
  "difficulty.num_arms": int,
  "difficulty.budget": str,
  "difficulty.seed": int,
  "difficulty.scorer": str,
}

# What is in these is looked at by those whom it names.
_OPEN = ("model", "samplers")
# What may change between two calls of one experiment: its results do not.
_FREE = re.compile(r"checkpoint\..*|cache_dir|tracking|tracking_uri")
# Read by the report alone, where a config has them.
_REPORT = ("best_setting", "cells", "factors", "grid", "paper")

_WORDS = {
  bool: "True or False",
  int: "a whole number",
  float: "a number",
  str: "a text",
}


def is_free(name: str) -> bool:
  """Whether a field, by its dotted name, decides nothing of the results."""
  return _FREE.fullmatch(name) is not None


def check(config: ConfigDict, finished: bool = False) -> None:
  """Refuses a config with a field too many, too few or of another type.

  Args:
    config: all of it.
    finished: whether it is of an experiment that was made before, perhaps by
      a version without some of the fields that are free.
  """
  found = flatten(config.to_dict())
  for name in found:
    top = name.split(".")[0]
    if name not in FIELDS and top not in (*_OPEN, *_REPORT):
      raise UserError(f"config.{name}: there is no such field.{_hint(name)}")
  for name in FIELDS:
    if name not in found and not (finished and is_free(name)):
      raise UserError(
        f"config.{name} is missing; start from configs/default.py, which has "
        "every field."
      )
  check_types(found, "config")
  samplers = config.get("samplers")
  if not isinstance(samplers, ConfigDict) or not samplers:
    raise UserError(
      "config.samplers is empty; give it at least one sampler by name."
    )
  for name, sampler in samplers.items():
    if not isinstance(sampler, ConfigDict):
      raise UserError(
        f"samplers.{name} must be a ConfigDict with a name and arguments, got "
        f"{sampler!r}."
      )


def check_types(found: Mapping[str, Any], prefix: str) -> None:
  """Refuses values that are not of their fields' types.

  Args:
    found: values by the dotted names of their fields; unknown ones pass.
    prefix: where they stand, for the message.
  """
  for name, value in found.items():
    kind = FIELDS.get(name)
    if kind is not None and not is_of(value, kind):
      raise UserError(f"{prefix}.{name} must be {_WORDS[kind]}, got {value!r}.")


def is_of(value: Any, kind: type) -> bool:
  """Whether a value is of a type; NumPy's numbers are, a bool is no number."""
  if kind in (int, float):
    number = numbers.Integral if kind is int else numbers.Real
    return isinstance(value, number) and not isinstance(value, bool)
  return isinstance(value, kind)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """The values by the dotted names of their fields."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, Mapping):
      flat |= flatten(value, f"{prefix}{key}.")
    else:
      flat[f"{prefix}{key}"] = value
  return flat


def _hint(name: str) -> str:
  """The nearest field that stands where this one does."""
  place, _, last = name.rpartition(".")
  beside = [other.rpartition(".") for other in FIELDS]
  names = [other[2] for other in beside if other[0] == place]
  close = difflib.get_close_matches(last, names, n=1)
  if not close:
    return ""
  return f" Did you mean {'.'.join(filter(None, (place, close[0])))}?"
