"""Numbers that change over a run; each schedule spans the run's budget."""

import optax

from alcurr.core.registry import Registry
from alcurr.types import Schedule


def _check(**values: float) -> None:
  for name, value in values.items():
    if not 0 <= value < float("inf"):
      raise ValueError(f"{name} must be finite and not negative, got {value}")


def constant(*, value: float) -> Schedule:
  """Returns `value` at every step."""
  _check(value=value)
  return optax.constant_schedule(value)


def linear(*, value: float, end: float = 0.0, num_steps: int) -> Schedule:
  """Falls or rises in a straight line from `value` to `end`."""
  _check(value=value, end=end)
  return optax.linear_schedule(value, end, num_steps)


def cosine(*, value: float, num_steps: int) -> Schedule:
  """Falls from `value` to zero by half a cosine."""
  _check(value=value)
  return optax.cosine_decay_schedule(value, num_steps)


def exponential(*, value: float, end: float, num_steps: int) -> Schedule:
  """Changes from `value` to `end` by a constant ratio a step."""
  _check(value=value, end=end)
  if not (value > 0 and end > 0):
    text = f"an exponential schedule never reaches zero, got {value} to {end}"
    raise ValueError(text)
  return optax.exponential_decay(value, num_steps, end / value)


SCHEDULES = Registry(
  "schedules",
  {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "exponential": exponential,
  },
  record=Schedule,
  from_number=lambda value: constant(value=value),
)
