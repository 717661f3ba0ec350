"""From a config to an optax transformation and its schedule."""

from collections.abc import Mapping
from typing import Any

import optax

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.core.schedules import SCHEDULES
from alcurr.models.layers import HEAD

OPTIMIZERS = {
  "adam": optax.adam,
  "adamw": optax.adamw,
  "lamb": optax.lamb,
  "lion": optax.lion,
  "rmsprop": optax.rmsprop,
  "sgd": optax.sgd,
}


def get_optimizer(
  config: Mapping[str, Any], num_steps: int, field: str = "optimizer"
) -> optax.GradientTransformation:
  """Builds the optimiser for a run of `num_steps` updates.

  Args:
    config: `name` (a key of OPTIMIZERS, with further arguments of that optax
      function in the manner of "sgd(momentum=0.9)"), `learning_rate` (the
      peak), `schedule` (a key of SCHEDULES), and `backbone` (multiplies the
      learning rate of all but the classifier; 1 if left out, 0 freezes).
    num_steps: the budget over which the schedule decays.
    field: where the config stands, for the messages.

  Raises:
    UserError: an unknown name or argument, or a value out of range.
  """
  rate = learning_rate(config, num_steps, field)
  return with_rate(config, rate, field)


def learning_rate(
  config: Mapping[str, Any], num_steps: int, field: str = "optimizer"
) -> optax.Schedule:
  """The learning rate of each update; arguments as of `get_optimizer`."""
  peak = config["learning_rate"]
  if not 0 < peak < float("inf"):
    raise UserError(f"{field}.learning_rate must be positive, got {peak}.")
  return specs.make(
    config["schedule"],
    SCHEDULES,
    f"{field}.schedule",
    value=peak,
    num_steps=num_steps,
  )


def with_rate(
  config: Mapping[str, Any], schedule: optax.Schedule, field: str = "optimizer"
) -> optax.GradientTransformation:
  """The optimiser of `get_optimizer` with a learning rate from elsewhere."""
  backbone = config.get("backbone", 1.0)
  if not 0 <= backbone < float("inf"):
    raise UserError(
      f"{field}.backbone must be finite and not negative, got {backbone}."
    )

  def make(schedule: optax.Schedule) -> optax.GradientTransformation:
    return specs.make(
      config["name"], OPTIMIZERS, f"{field}.name", learning_rate=schedule
    )

  head = make(schedule)
  if backbone == 1:
    return head
  slower = make(lambda count: backbone * schedule(count))
  return optax.partition(
    {"head": head, "backbone": slower if backbone else optax.set_to_zero()},
    lambda params: {k: "head" if k == HEAD else "backbone" for k in params},
  )
