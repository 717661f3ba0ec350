"""From a config to the records it describes; its mistakes, told at once."""

import pathlib
import re
import sys
from typing import Any

from ml_collections import ConfigDict

from alcurr import specs
from alcurr.data import sources
from alcurr.difficulty.arms import ARMS
from alcurr.errors import UserError
from alcurr.models import MODELS
from alcurr.optimizers import get_optimizer
from alcurr.samplers import get_sampler
from alcurr.types import Model, Sampler

# What a sampler's run may have of its own, in `samplers.<name>.run`.
RUN_FIELDS = (
  *("baseline", "batch_size", "budget", "model", "optimizer", "train_on"),
)
# The pools that a run may train on.
TRAIN_ON = ("train", "train_and_probe")


def check(config: ConfigDict) -> None:
  """Refuses a config before anything is read or built."""
  for field in (
    *("trials", "batch_size", "evaluations", "chunk_steps"),
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
  if config.trials_by not in ("auto", "vmap", "map"):
    raise UserError(
      f"trials_by must be auto, vmap or map, got {config.trials_by!r}."
    )
  if config.difficulty.seed in seeds(config):
    raise UserError(
      f"difficulty.seed {config.difficulty.seed} is also a trial's; "
      f"take one outside {config.seed} to {config.seed + config.trials - 1}."
    )
  if config.equal not in ("examples", "flops"):
    raise UserError(f"equal must be examples or flops, got {config.equal!r}.")
  _check_thresholds(config.thresholds)
  sources.check(config.data)
  # Built for their checks alone, at sizes that anything admits.
  num_steps(config.difficulty.budget, config.batch_size, sys.maxsize)
  get_optimizer(config.optimizer, num_steps=1)
  make_model(config, (256, 256, 1), 2)
  for name in config.samplers:
    if not re.fullmatch(r"\w[\w.-]*", name):
      raise UserError(
        f"samplers: {name!r} names a folder; use letters, digits, _ - and ."
      )
    _check_run(config, name)
    sampler = make_sampler(config, name, steps=1)
    for partition in sampler.needs:
      if partition not in ARMS:
        raise UserError(
          f"samplers.{name}.arms: no {partition!r}. "
          f"{specs.nearest(partition, ARMS)}"
        )


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
  for field in config.samplers[name].get("run", {}):
    if field not in RUN_FIELDS:
      raise UserError(
        f"samplers.{name}.run: no {field!r}. {specs.nearest(field, RUN_FIELDS)}"
      )
  mine = of_run(config, name)
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
  num_steps(mine.budget, mine.batch_size, sys.maxsize)
  get_optimizer(mine.optimizer, num_steps=1)
  make_model(mine, (256, 256, 1), 2)


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


def num_steps(budget: str, batch_size: int, num_examples: int) -> int:
  """Updates that a budget such as "1 epoch" or "500000 examples" pays for."""
  match = re.fullmatch(r"([\d._]+) (epoch|example|step)s?", budget.strip())
  try:
    amount = float(match[1]) if match else 0
  except ValueError:
    amount = 0
  if not amount:
    raise UserError(
      f"budget={budget!r}: write a positive number of epochs, examples or "
      'steps, such as "1 epoch" or "500000 examples".'
    )
  batches = {"epoch": num_examples / batch_size, "example": 1 / batch_size}
  steps = int(amount * batches.get(match[2], 1))
  if not steps:
    raise UserError(
      f"budget={budget!r} is less than one batch of {batch_size}."
    )
  return steps


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
