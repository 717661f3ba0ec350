"""The fields of a config: their names and types.

Both are those of `alcurr.experiments.config.defaults`, which also says what
each field means.
"""

import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.experiments.config import defaults
from alcurr.training import meshes
from alcurr.training.step import ON_NONFINITE

MAX_SEED = 2**32 - 1  # the largest that every generator takes
# Groups that take further fields, which are checked elsewhere.
_OPEN = ("model", "samplers", "scores", "scoring_model")
# Optional fields that only the report reads.
_REPORT = ("best_setting", "cells", "factors", "grid", "paper")
# Fields that results do not depend on: they may change between two calls of
# one experiment.
_FREE = re.compile(
  r"checkpoint\..*|slurm\..*|cache_dir|mesh|tracking|tracking_uri|"
  rf"({'|'.join(_REPORT)})(\..*)?"
)
# What samplers have in common: examples, or FLOPs with the scores before
# training or without them.
BUDGET_BASES = ("examples", "flops", "step_flops")
_SOURCES = "data.sources"


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Returns the values of a nested mapping by dotted field names."""
  flat = {}
  for key, value in config.items():
    is_group = isinstance(value, Mapping)
    name = f"{prefix}{key}"
    flat |= flatten(value, f"{name}.") if is_group else {name: value}
  return flat


# The type of each field by its dotted name.
FIELDS: dict[str, type] = {
  name: type(value)
  for name, value in flatten(defaults.get_config().to_dict()).items()
  if not name.startswith(("samplers.", "scores."))
}
# The defaults of the fields that every score has.
SCORE_DEFAULTS: dict[str, Any] = {
  name: value
  for name, value in defaults.get_config().difficulty.items()
  if name != "num_arms"
}


def is_free(name: str) -> bool:
  """Returns whether results do not depend on a field."""
  return _FREE.fullmatch(name) is not None


def check(config: ConfigDict, finished: bool = False) -> None:
  """Refuses a config with an unknown, missing or mistyped field.

  Args:
    config: a whole config.
    finished: whether it is of a finished experiment, perhaps of a version
      without some of the free fields.

  Raises:
    UserError: at the field.
  """
  for name in {name.rpartition(".")[0] for name in FIELDS} - {""}:
    if not isinstance(config.get(name, ConfigDict()), ConfigDict):
      text = f"expected a ConfigDict of its fields, got {config[name]!r}"
      raise UserError("type", name, text)
  sources = config.get("data", {}).get("sources")
  groups = {_SOURCES: ConfigDict() if sources is None else sources}
  if isinstance(sources, ConfigDict):
    groups |= {f"{_SOURCES}.{name}": s for name, s in sources.items()}
  for place, group in groups.items():
    if not isinstance(group, ConfigDict):
      text = f"expected a ConfigDict of fields of data, got {group!r}"
      raise UserError("type", place, text)
  flat = flatten(config.to_dict())
  check_fields(flat)
  for name in FIELDS:
    if name not in flat and not (finished and is_free(name)):
      text = "start from alcurr.experiments.config.defaults, which has all"
      raise UserError("missing", name, text)
  if sources is None and not finished:
    text = "expected {}, or the fields of each source by its name"
    raise UserError("missing", _SOURCES, text)
  samplers = config.get("samplers")
  if not isinstance(samplers, ConfigDict) or not samplers:
    raise UserError("missing", "samplers", "expected at least one sampler")
  for name, sampler in samplers.items():
    if not isinstance(sampler, ConfigDict):
      text = f"expected a ConfigDict of a name and arguments, got {sampler!r}"
      raise UserError("type", f"samplers.{name}", text)
  _check_scores(config)


def check_finished(config: ConfigDict, path: pathlib.Path) -> None:
  """Refuses the config of a finished experiment, read from a path.

  Raises:
    UserError: at the path; another version wrote a field that this one lacks,
      or lacked one that this one needs.
  """
  try:
    check(config, finished=True)
  except UserError as error:
    text = (
      f"{error.place} is not as this version of alcurr writes it; use the "
      "version that each result.json names, or train the run again"
    )
    raise UserError("mismatch", str(path), text) from error


def _check_scores(config: ConfigDict) -> None:
  """Refuses scores with an unusable name or a wrong field."""
  scores = config.get("scores", ConfigDict())
  if not isinstance(scores, ConfigDict):
    text = f"expected a ConfigDict of scores by name, got {scores!r}"
    raise UserError("type", "scores", text)
  for name, score in scores.items():
    place = f"scores.{name}"
    if not re.fullmatch(r"[\w-]{1,100}", name) or name == "difficulty":
      text = (
        "expected names of letters, digits, _ and -, other than difficulty, "
        f"got {name!r:.120}"
      )
      raise UserError("syntax", "scores", text)
    if not isinstance(score, ConfigDict):
      text = f"expected a ConfigDict of its fields, got {score!r}"
      raise UserError("type", place, text)
    for field, value in score.items():
      specs.check_choice(place, field, SCORE_DEFAULTS)
      kind = type(SCORE_DEFAULTS[field])
      if not specs.has_type(value, kind):
        text = f"expected {specs.TYPE_NAMES[kind]}, got {value!r}"
        raise UserError("type", f"{place}.{field}", text)


def of_a_source(name: str) -> str:
  """Returns data.x for the field x of one of `data.sources`."""
  source = re.fullmatch(rf"{re.escape(_SOURCES)}\.[^.]+\.(\w+)", name)
  return f"data.{source[1]}" if source else name


def check_fields(values: Mapping[str, Any], prefix: str = "") -> None:
  """Refuses fields, by dotted names, that are unknown or of another type.

  The prefix is put before the field, for the message.
  """
  for name, value in values.items():
    kind, group = FIELDS.get(of_a_source(name)), name.split(".")[0]
    if kind is None and group not in (*_OPEN, *_REPORT):
      text = f"no such field{specs.did_you_mean(name, FIELDS, prefix)}"
      raise UserError("unknown", f"{prefix}{name}", text)
    if kind is not None and not specs.has_type(value, kind):
      text = f"expected {specs.TYPE_NAMES[kind]}, got {value!r}"
      raise UserError("type", f"{prefix}{name}", text)


def check_values(config: ConfigDict) -> None:
  """Checks the numbers and choices that no factory checks."""
  values = flatten(config.to_dict())
  for field in (
    "trials",
    "batch_size",
    "num_evals",
    "chunk_steps",
    "eval_batch_size",
    "difficulty.num_arms",
    "checkpoint.keep",
    "slurm.minutes",
    "slurm.cpus",
  ):
    specs.check_range(field, values[field], 1)
  for field in (
    "checkpoint.minutes",
    "checkpoint.steps",
    "slurm.gpus",
    "slurm.memory_gb",
    "slurm.parallel",
  ):
    specs.check_range(field, values[field], 0)
  for field in ("seed", "data.seed"):
    last = config.trials - 1 if field == "seed" else 0
    specs.check_range(field, values[field], 0, MAX_SEED - last)
  meshes.parse(config.mesh)
  specs.check_choice("trials_by", config.trials_by, ("vmap", "map"))
  specs.check_choice("on_nonfinite", config.on_nonfinite, ON_NONFINITE)
  specs.check_choice("budget_basis", config.budget_basis, BUDGET_BASES)
  try:
    words = config.thresholds.replace(",", " ").split()
    thresholds = [float(word) for word in words]
  except ValueError:
    thresholds = [math.nan]
  if not all(0 < threshold < 1 for threshold in thresholds):
    text = f"expected numbers in (0, 1), got {config.thresholds!r}"
    raise UserError("range", "thresholds", text)
