"""From a config to the records that it describes, built and checked once.

`build_experiment` reads no data and makes no arrays. What depends on the data
(the steps of a budget, the shape of the images) is an argument of the
functions in the records.
"""

import functools
import pathlib
import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from alcurr.core import paths, specs
from alcurr.core.errors import UserError
from alcurr.data import channels, sources
from alcurr.data.augment import AUGMENTS
from alcurr.data.given_splits import has_probe
from alcurr.data.partitions import PARTITIONS
from alcurr.experiments.config import plain, schema
from alcurr.experiments.config.built_run import BuiltRun, make_run
from alcurr.experiments.config.scores import (
  DIFFICULTY,
  BuiltScore,
  build_scores,
  check_clusters,
  names_read,
)
from alcurr.models import MODELS, with_scorer
from alcurr.samplers import SAMPLERS
from alcurr.training import losses
from alcurr.training.losses import LOSSES
from alcurr.types import Augment, Loss, Model, PyTree, StatefulLoss

# The fields that `samplers.<name>.run` may set for one sampler.
_FIELDS = (
  *("baseline", "batch_size", "budget", "loss", "model", "optimizer"),
  *("scores_shared_by", "scoring_model", "train_on"),
)
# The pools that a run may train on.
TRAIN_ON = ("train", "train_and_probe")

_MAX_NAME = 100  # bytes of a sampler's name, which is also a folder's


class BuiltExperiment(NamedTuple):
  """An experiment before its data is known."""

  config: ConfigDict
  runs: dict[str, BuiltRun]  # by the name of the sampler
  scores: dict[str, BuiltScore]  # by name, those that any sampler reads
  augment: Augment | None
  partitions: frozenset[str]  # that any sampler reads

  @property
  def trained_scores(self) -> list[BuiltScore]:
    """The scores that models are trained for."""
    return [score for score in self.scores.values() if score.run]

  @property
  def file_scores(self) -> list[BuiltScore]:
    """The scores that files have."""
    return [score for score in self.scores.values() if not score.run]


def build_experiment(config: ConfigDict) -> BuiltExperiment:
  """Builds what a config describes; nothing is read but weight files.

  Raises:
    UserError: at the first field that is wrong.
  """
  config = plain.normalize(config, schema.FIELDS)
  schema.check(config)
  schema.check_values(config)
  sources.check(config.data)

  _check_loss(config)
  _check_model(config)
  scores = build_scores(config, losses.metric, _check_model)
  runs = {
    name: _build_run(config, name, scores.keys()) for name in config.samplers
  }
  read = {name for run in runs.values() for name in names_read(run.spec)}
  partitions = {name for run in runs.values() for name in run.spec.partitions}
  if "clusters" in partitions:
    check_clusters(scores[DIFFICULTY])
  return BuiltExperiment(
    config=config,
    runs=runs,
    scores={name: scores[name] for name in sorted(read)},
    augment=specs.make(config.augment, AUGMENTS, "augment"),
    partitions=frozenset(partitions),
  )


def _build_run(
  config: ConfigDict, name: str, scores: Collection[str]
) -> BuiltRun:
  place = f"samplers.{name}"
  too_long = len(name.encode(errors="replace")) > _MAX_NAME
  if too_long or not re.fullmatch(r"\w[\w.-]*", name):
    text = (
      f"expected names of at most {_MAX_NAME} letters, digits, _, - and ., "
      f"which are also folders, got {name!r}"
    )
    raise UserError("syntax", "samplers", text)
  arguments = config.samplers[name].to_dict()
  _check_run_fields(config, f"{place}.run", arguments.pop("run", {}))
  merged = run_config(config, name)
  specs.check_range(f"{place}.run.batch_size", merged.batch_size, 1)
  specs.check_choice("baseline", merged.baseline, config.samplers)
  specs.check_choice("train_on", merged.train_on, TRAIN_ON)
  specs.check_range("scores_shared_by", merged.scores_shared_by, 1)
  if merged.train_on != "train" and not has_probe(config.data):
    needed = "a probe split, data.probe_fraction above 0 or data.probe_dir"
    text = f"{merged.train_on!r} needs {needed}"
    raise UserError("conflict", "train_on", text)
  held_out = config.data.hold_out or config.data.probe_dir
  if merged.train_on != "train" and not held_out:
    text = "data.hold_out=False trains on the probe split already"
    raise UserError("conflict", "train_on", text)
  if network_key(merged) != network_key(config):
    _check_model(merged)
  _check_loss(merged)
  for field, setting in (("batch_size", "batch_size"), ("num_steps", "budget")):
    if field in arguments:
      raise UserError("unknown", f"{place}.{field}", f"set run.{setting}")
  make_sampler = functools.cache(
    lambda num_steps: specs.make(
      arguments,
      SAMPLERS,
      place,
      batch_size=merged.batch_size,
      num_steps=num_steps,
    )
  )
  seeds = tuple(range(config.seed, config.seed + config.trials))
  run = make_run(name, merged, seeds, "budget", make_sampler)
  for partition in run.spec.partitions:
    specs.check_choice(f"{place}.partition", partition, PARTITIONS)
  for score in run.spec.scores:
    specs.check_choice(place, score, scores)
  if merged.scoring_model.name and run.spec.num_candidates is None:
    text = f"the sampler {name} has no candidates to score; set the field "
    text += "run.scoring_model of those that have"
    raise UserError("conflict", "scoring_model", text)
  return run


def _check_run_fields(config: ConfigDict, place: str, fields: Any) -> None:
  """Refuses fields in a sampler's `run` that are unknown or of another type."""
  if not isinstance(fields, dict):
    text = f"expected a ConfigDict of {', '.join(_FIELDS)}, got {fields!r}"
    raise UserError("type", place, text)
  for field, value in fields.items():
    specs.check_choice(place, field, _FIELDS)
    if isinstance(value, dict) != isinstance(config[field], ConfigDict):
      text = f"expected the type of config.{field}, got {value!r}"
      raise UserError("type", f"{place}.{field}", text)
  schema.check_fields(schema.flatten(fields), f"{place}.")


def run_config(config: ConfigDict, name: str) -> ConfigDict:
  """Returns the config with the fields of a sampler's `run` replaced."""
  return plain.merge(config, config.samplers[name].get("run", {}))


def _check_loss(config: ConfigDict) -> None:
  """Builds the loss for its checks, and calls it with a label."""
  loss = make_loss(config, num_classes=2)
  label = jax.ShapeDtypeStruct((1,), jnp.int32)
  if config.data.regression:
    label = jax.ShapeDtypeStruct((1, 2), jnp.float32)
  logits = jax.ShapeDtypeStruct((1, 2), jnp.float32)
  with specs.errors_in("loss"):
    if not isinstance(loss, StatefulLoss):
      jax.eval_shape(loss, logits, label)
    elif config.data.regression:
      raise ValueError("expected one for targets, such as squared_error")


def _check_model(config: ConfigDict) -> None:
  """Builds a model for its checks, at a plausible size of images.

  Arrays may be no images. So their models are built when they are read, and
  here only names and types of arguments are checked.
  """
  data = config.data
  is_arrays = data.source == "npz" and not data.sources
  drawn = data.source == "synthetic" and not data.sources
  size = data.image_size if drawn else 256
  depth = len(channels.get_channels(config.data))
  if is_arrays:
    _make_models(config, (size, size, depth), 2, specs.resolve)
  else:
    make_model(config, (size, size, depth), 2)


def make_model(
  config: ConfigDict, input_shape: PyTree, num_classes: int
) -> Model:
  """Builds the model for inputs of V classes, with its scorer.

  For `input_shape` see `alcurr.data.rows.input_shape`.
  """
  model, scorer = _make_models(config, input_shape, num_classes, specs.make)
  if scorer is None:
    return model
  with specs.errors_in("scoring_model"):
    return with_scorer(model, scorer, shared=config.scoring_model.shared)


def _make_models(
  config: ConfigDict,
  input_shape: PyTree,
  num_classes: int,
  make: Callable[..., Any],
) -> tuple[Any, Any]:
  """Makes the model of a config, and the one that scores, or None."""
  context = {"input_shape": input_shape, "num_classes": num_classes}

  def make_one(field: str, spec: dict[str, Any]) -> Any:
    # Networks without weight files take no such argument.
    spec = {k: v for k, v in spec.items() if (k, v) != ("weights", "")}
    return make(spec, MODELS, field, **context)

  model = make_one("model", config.model.to_dict())
  scorer = config.scoring_model.to_dict()
  del scorer["shared"]
  if not scorer["name"]:
    return model, None
  return model, make_one("scoring_model", scorer)


def make_loss(config: ConfigDict, num_classes: int) -> Loss | StatefulLoss:
  """Builds the loss that is trained on, of V classes."""
  return specs.make(config.loss, LOSSES, "loss", num_classes=num_classes)


def network_key(config: ConfigDict) -> str:
  """Returns a text that two configs share if their networks are the same."""
  return f"{config.model} {config.scoring_model}"


def cache_dir(config: ConfigDict, workdir: pathlib.Path) -> pathlib.Path:
  """Returns the folder of what the next experiment can reuse."""
  # Programs are cached before the config is checked.
  if own := config.get("cache_dir"):
    return paths.absolute(own, "cache_dir")
  return workdir.parent / "cache"
