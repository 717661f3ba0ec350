"""Builds optimizers and learning rates from a config."""

from collections.abc import Mapping
from typing import Any

import optax

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.core.schedules import SCHEDULES
from alcurr.models.layers import HEAD, SCORER

OPTIMIZERS = {
  "adam": optax.adam,
  "adamw": optax.adamw,
  "lamb": optax.lamb,
  "lion": optax.lion,
  "rmsprop": optax.rmsprop,
  "sgd": optax.sgd,
}


def get_optimizer(
  config: Mapping[str, Any], num_steps: int
) -> optax.GradientTransformation:
  """Builds the optimizer of a run.

  Args:
    config: `name` (a spec of OPTIMIZERS), `learning_rate` (the peak),
      `schedule` (a key of SCHEDULES), and `backbone_lr_multiplier` (of the
      learning rate of all layers but the classifier; default 1; 0 freezes).
    num_steps: T, over which the schedule decays.

  Raises:
    UserError: an unknown name or argument, or a value out of range.
  """
  return with_rate(config, learning_rate(config, num_steps))


def learning_rate(config: Mapping[str, Any], num_steps: int) -> optax.Schedule:
  """Builds the learning rate of each update; for arguments, `get_optimizer`."""
  peak = config["learning_rate"]
  if not 0 < peak < float("inf"):
    text = f"expected a positive, finite number, got {peak}"
    raise UserError("range", "optimizer.learning_rate", text)
  return specs.make(
    config["schedule"],
    SCHEDULES,
    "optimizer.schedule",
    value=peak,
    num_steps=num_steps,
  )


def with_rate(
  config: Mapping[str, Any], schedule: optax.Schedule
) -> optax.GradientTransformation:
  """Builds the optimizer of `get_optimizer` with another learning rate."""
  multiplier = config.get("backbone_lr_multiplier", 1.0)
  if not 0 <= multiplier < float("inf"):
    text = f"expected a finite number of at least 0, got {multiplier}"
    raise UserError("range", "optimizer.backbone_lr_multiplier", text)

  def make(schedule: optax.Schedule) -> optax.GradientTransformation:
    return specs.make(
      config["name"], OPTIMIZERS, "optimizer.name", learning_rate=schedule
    )

  head = make(schedule)
  if multiplier == 1:
    return head
  backbone = optax.set_to_zero()
  if multiplier:
    backbone = make(lambda count: multiplier * schedule(count))
  return optax.partition(
    {"head": head, "backbone": backbone},
    lambda params: {
      k: "head" if k in (HEAD, SCORER) else "backbone" for k in params
    },
  )
