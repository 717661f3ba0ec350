"""From a config to the records it describes; its mistakes, told at once."""

import re
import sys

from ml_collections import ConfigDict

from alcurr import specs
from alcurr.data import sources
from alcurr.difficulty.arms import ARMS
from alcurr.errors import UserError
from alcurr.models import MODELS
from alcurr.optimizers import get_optimizer
from alcurr.samplers import get_sampler
from alcurr.types import Model, Sampler


def check(config: ConfigDict) -> None:
  """Refuses a config before anything is read or built."""
  for field in (
    *("trials", "batch_size", "evaluations", "chunk_steps"),
    *("eval_batch_size", "difficulty.num_arms"),
  ):
    value = config
    for key in field.split("."):
      value = value[key]
    if value < 1:
      raise UserError(f"{field} must be at least 1, got {value}.")
  if config.trials_by not in ("auto", "vmap", "map"):
    raise UserError(
      f"trials_by must be auto, vmap or map, got {config.trials_by!r}."
    )
  if config.difficulty.seed in seeds(config):
    raise UserError(
      f"difficulty.seed {config.difficulty.seed} is also a trial's; "
      f"take one outside {config.seed} to {config.seed + config.trials - 1}."
    )
  if config.baseline not in config.samplers:
    raise UserError(
      f"baseline: no sampler {config.baseline!r} in this experiment. "
      f"{specs.nearest(config.baseline, config.samplers)}"
    )
  sources.check(config.data)
  # Built for their checks alone, at sizes that anything admits.
  for budget in (config.budget, config.difficulty.budget):
    num_steps(budget, config.batch_size, sys.maxsize)
  get_optimizer(config.optimizer, num_steps=1)
  make_model(config, (256, 256, 1), 2)
  for name in config.samplers:
    if not re.fullmatch(r"\w[\w.-]*", name):
      raise UserError(
        f"samplers: {name!r} names a folder; use letters, digits, _ - and ."
      )
    sampler = make_sampler(config, name, steps=1)
    for partition in sampler.needs:
      if partition not in ARMS:
        raise UserError(
          f"samplers.{name}.arms: no {partition!r}. "
          f"{specs.nearest(partition, ARMS)}"
        )


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
  return specs.make(
    config.model,
    MODELS,
    "model",
    image_shape=image_shape,
    num_classes=num_classes,
  )


def batch_size(config: ConfigDict, name: str) -> int:
  """A sampler's own batch size, or that of the experiment."""
  return config.samplers[name].get("batch_size", config.batch_size)


def make_sampler(config: ConfigDict, name: str, steps: int) -> Sampler:
  """The sampler of that name, for a run of so many steps."""
  return get_sampler(
    config.samplers[name],
    f"samplers.{name}",
    batch_size=config.batch_size,
    num_steps=steps,
  )
