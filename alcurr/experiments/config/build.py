"""From a config to the records it describes; its mistakes, told at once."""

import math
import pathlib
import re
from typing import Any

from ml_collections import ConfigDict

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.data import sources
from alcurr.data.augment import get_augment
from alcurr.data.partitions import PARTITIONS
from alcurr.experiments import loggers
from alcurr.experiments.config import schema
from alcurr.models import MODELS
from alcurr.samplers import get_sampler
from alcurr.samplers.scores import SCORERS
from alcurr.training import step
from alcurr.training.losses import LOSSES
from alcurr.training.optimizers import get_optimizer
from alcurr.types import Loss, Model, Sampler

# What a sampler's run may have of its own, in `samplers.<name>.run`.
RUN_FIELDS = (
  *("baseline", "batch_size", "budget", "model", "optimizer", "train_on"),
)
# The pools that a run may train on.
TRAIN_ON = ("train", "train_and_probe")

MOST_STEPS = 2**31 - 1  # a step is an int32
_MOST_SEED = 2**32 - 1  # what every generator takes
_LONGEST_NAME = 100  # bytes of a sampler's, which is also a folder's


def check(config: ConfigDict) -> None:
  """Refuses a config before anything is read or built."""
  schema.check(config)
  for field in (
    *("trials", "batch_size", "num_evals", "chunk_steps"),
    *("eval_batch_size", "difficulty.num_arms", "checkpoint.keep"),
  ):
    value = config
    for key in field.split("."):
      value = value[key]
    if value < 1:
      raise UserError(f"{field} must be at least 1, got {value}.")
  for field in ("minutes", "steps"):
    if not config.checkpoint[field] >= 0:  # nor is NaN
      raise UserError(
        f"checkpoint.{field} must be 0 (never) or more, got "
        f"{config.checkpoint[field]}."
      )
  get_augment(config.augment, "augment")
  make_scorer(config)
  if config.trials_by not in ("vmap", "map"):
    raise UserError(f"trials_by must be vmap or map, got {config.trials_by!r}.")
  if config.on_nonfinite not in step.ON_NONFINITE:
    raise UserError(
      f"on_nonfinite must be {' or '.join(step.ON_NONFINITE)}, "
      f"got {config.on_nonfinite!r}."
    )
  for field, first, last in (
    ("seed", config.seed, config.seed + config.trials - 1),
    ("difficulty.seed", *2 * (config.difficulty.seed,)),
    ("data.seed", *2 * (config.data.seed,)),
  ):
    if first < 0 or last > _MOST_SEED:
      raise UserError(
        f"{field} must be from 0 to {_MOST_SEED}, for each trial, got {first}."
      )
  if config.difficulty.seed in seeds(config):
    raise UserError(
      f"difficulty.seed {config.difficulty.seed} is also a trial's; "
      f"take one outside {config.seed} to {config.seed + config.trials - 1}."
    )
  loggers.check(config.tracking, config.tracking_uri)
  if config.budget_basis not in ("examples", "flops"):
    raise UserError(
      f"budget_basis must be examples or flops, got {config.budget_basis!r}."
    )
  _check_thresholds(config.thresholds)
  sources.check(config.data)
  # Built for their checks alone, at sizes that anything admits.
  _check_budget(
    config.difficulty.budget, config.batch_size, "difficulty.budget"
  )
  get_optimizer(config.optimizer, num_steps=1)
  make_model(config, _image_shape(config), 2)
  for name in config.samplers:
    long = len(name.encode(errors="replace")) > _LONGEST_NAME
    if long or not re.fullmatch(r"\w[\w.-]*", name):
      raise UserError(
        f"samplers: {name!r} names a folder; use letters, digits, _ - and ., "
        f"at most {_LONGEST_NAME}."
      )
    _check_run(config, name)
    sampler = make_sampler(config, name, MOST_STEPS)
    for partition in sampler.spec.partitions:
      if partition not in PARTITIONS:
        raise UserError(
          f"samplers.{name}.arms: no {partition!r}. "
          f"{specs.nearest(partition, PARTITIONS)}"
        )


def _image_shape(config: ConfigDict) -> tuple[int, int, int]:
  """Of the images, where the config tells; else one that anything fits."""
  size = config.data.image_size if config.data.source == "synthetic" else 256
  return size, size, len(sources.get_channels(config.data))


def _check_thresholds(text: str) -> None:
  try:
    possible = all(0 < accuracy < 1 for accuracy in map(float, text.split()))
  except ValueError:
    possible = False
  if not possible:
    raise UserError(
      f"thresholds={text!r}: write accuracies between 0 and 1 with spaces "
      'between them, such as "0.5 0.8".'
    )


def _check_run(config: ConfigDict, name: str) -> None:
  """Refuses what a sampler's run has of its own, where it is impossible."""
  own = config.samplers[name].get("run", ConfigDict())
  if not isinstance(own, ConfigDict):
    raise UserError(
      f"samplers.{name}.run must be a ConfigDict of {', '.join(RUN_FIELDS)}, "
      f"got {own!r}."
    )
  for field in own:
    if field not in RUN_FIELDS:
      raise UserError(
        f"samplers.{name}.run: no {field!r}. {specs.nearest(field, RUN_FIELDS)}"
      )
    if isinstance(own[field], ConfigDict) != (field in ("model", "optimizer")):
      raise UserError(
        f"samplers.{name}.run.{field} must be what config.{field} is, got "
        f"{own[field]!r}."
      )
  schema.check_types(schema.flatten(own.to_dict()), f"samplers.{name}.run")
  mine = of_run(config, name)
  schema.check(mine)
  if mine.batch_size < 1:
    raise UserError(f"batch_size must be at least 1, got {mine.batch_size}.")
  if mine.baseline not in config.samplers:
    raise UserError(
      f"baseline: no sampler {mine.baseline!r} in this experiment. "
      f"{specs.nearest(mine.baseline, config.samplers)}"
    )
  if mine.train_on not in TRAIN_ON:
    raise UserError(
      f"train_on must be one of {', '.join(TRAIN_ON)}, got {mine.train_on!r}."
    )
  if mine.train_on != "train" and not config.data.probe_fraction:
    raise UserError(
      f"samplers.{name}: train_on={mine.train_on!r} needs a probe split of "
      "its own, data.probe_fraction above 0."
    )
  _check_budget(mine.budget, mine.batch_size, "budget")
  get_optimizer(mine.optimizer, num_steps=1)
  make_model(mine, _image_shape(mine), 2)


def of_run(config: ConfigDict, name: str) -> ConfigDict:
  """The experiment's config with what a sampler's `run` has of its own."""
  mine = config.copy_and_resolve_references()
  with mine.unlocked():
    mine.update(config.samplers[name].get("run", {}))
  return mine


def changed(config: ConfigDict, values: dict[str, Any]) -> ConfigDict:
  """The config with other settings, by their dotted names."""
  other = config.copy_and_resolve_references()
  with other.unlocked():
    other.update_from_flattened_dict(values)
  return other


def _parse_budget(budget: str, field: str) -> tuple[float, str]:
  """A positive amount, and "epoch", "example" or "step"."""
  match = re.fullmatch(r"([\d._]+) (epoch|example|step)s?", budget.strip())
  try:
    amount = float(match[1]) if match else 0
  except ValueError:
    amount = 0
  if not amount or not math.isfinite(amount):
    raise UserError(
      f"{field}={specs.quoted(budget)}: write a positive number of epochs, "
      'examples or steps, such as "1 epoch" or "500000 examples".'
    )
  return amount, match[2]


def _check_budget(budget: str, batch_size: int, field: str) -> None:
  """As far as it can be told without the data, which says what an epoch is."""
  if _parse_budget(budget, field)[1] != "epoch":
    num_steps(budget, batch_size, num_examples=1, field=field)


def num_steps(
  budget: str, batch_size: int, num_examples: int, field: str = "budget"
) -> int:
  """Updates that a budget such as "1 epoch" or "500000 examples" pays for."""
  amount, unit = _parse_budget(budget, field)
  batches = {"epoch": num_examples / batch_size, "example": 1 / batch_size}
  steps = amount * batches.get(unit, 1)
  if steps < 1:
    raise UserError(
      f"{field}={specs.quoted(budget)} is less than one batch of {batch_size}; "
      "take a larger budget or a smaller batch."
    )
  if steps > MOST_STEPS:
    raise UserError(
      f"{field}={specs.quoted(budget)} is more than {MOST_STEPS} steps; take a "
      "smaller one."
    )
  return int(steps)


def seeds(config: ConfigDict) -> tuple[int, ...]:
  """One for each trial."""
  return tuple(range(config.seed, config.seed + config.trials))


def make_model(
  config: ConfigDict, image_shape: tuple[int, ...], num_classes: int
) -> Model:
  """The model, for images [H, W, C] of that many classes."""
  # No weights are not asked of a network that cannot start from any.
  spec = {k: v for k, v in config.model.items() if (k, v) != ("weights", "")}
  return specs.make(
    spec,
    MODELS,
    "model",
    image_shape=image_shape,
    num_classes=num_classes,
  )


def make_loss(config: ConfigDict) -> Loss:
  """The loss that an experiment's models are trained and measured by."""
  return specs.make(config.loss, LOSSES, "loss")


def make_scorer(config: ConfigDict) -> Loss:
  """What difficulties are, of the logits and the label of an example."""
  return specs.make(
    config.difficulty.scorer,
    SCORERS,
    "difficulty.scorer",
    loss=make_loss(config),
  )


def cache_dir(config: ConfigDict, workdir: pathlib.Path) -> pathlib.Path:
  """Where an experiment keeps what the next one can use."""
  return pathlib.Path(config.cache_dir or workdir.parent / "cache")


def make_sampler(config: ConfigDict, name: str, steps: int) -> Sampler:
  """The sampler of that name, for a run of so many steps."""
  arguments = {k: v for k, v in config.samplers[name].items() if k != "run"}
  for field in ("batch_size", "num_steps"):
    if field in arguments:
      raise UserError(
        f"samplers.{name}.{field}: what a run has of its own stands in "
        f"samplers.{name}.run, such as run.batch_size or run.budget."
      )
  return get_sampler(
    arguments,
    f"samplers.{name}",
    batch_size=of_run(config, name).batch_size,
    num_steps=steps,
  )
