"""Numbers that change over a run, each over the run's own budget."""

import optax

from alcurr.core import specs


def _check(**values: float) -> None:
  for name, value in values.items():
    if not 0 <= value < float("inf"):
      raise ValueError(f"{name} must be finite and not negative, got {value}")


def constant(*, value: float) -> optax.Schedule:
  _check(value=value)
  return optax.constant_schedule(value)


def linear(*, value: float, end: float = 0.0, num_steps: int) -> optax.Schedule:
  """A straight line from `value` to `end` over the run."""
  _check(value=value, end=end)
  return optax.linear_schedule(value, end, num_steps)


def cosine(*, value: float, num_steps: int) -> optax.Schedule:
  """Half a cosine from `value` to zero over the run."""
  _check(value=value)
  return optax.cosine_decay_schedule(value, num_steps)


def exponential(*, value: float, end: float, num_steps: int) -> optax.Schedule:
  """A constant ratio a step, from `value` to `end` over the run."""
  _check(value=value, end=end)
  if not (value > 0 and end > 0):
    raise ValueError(
      f"an exponential schedule never reaches zero, got {value} to {end}"
    )
  return optax.exponential_decay(value, num_steps, end / value)


SCHEDULES = {
  "constant": constant,
  "linear": linear,
  "cosine": cosine,
  "exponential": exponential,
}


def get_schedule(
  spec: float | str, field: str, num_steps: int
) -> float | optax.Schedule:
  """A number as it is, or the schedule that a spec names.

  Args:
    spec: 0.2, "0.2" or "linear(value=1.0, end=0.1)".
    field: where the spec stands in the config, for the messages.
    num_steps: steps of the run.
  """
  try:
    return float(spec)
  except ValueError:
    return specs.make(spec, SCHEDULES, field, num_steps=num_steps)
