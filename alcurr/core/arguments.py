"""Checks of the arguments of factories; each raises ValueError."""

from collections.abc import Collection


def check_at_least(least: float, **arguments: float | None) -> None:
  for name, value in arguments.items():
    if value is not None and value < least:
      raise ValueError(f"{name} must be at least {least}, got {value}")


def check_fraction(**arguments: float) -> None:
  for name, value in arguments.items():
    if not 0 <= value <= 1:
      raise ValueError(f"{name} must be in [0, 1], got {value}")


def check_positive(**arguments: float) -> None:
  """Checks that numbers are positive, and that float32 can reckon with them."""
  for name, value in arguments.items():
    if not 1e-18 <= value <= 1e18:
      raise ValueError(f"{name} must be in [1e-18, 1e18], got {value}")


def check_positive_fraction(**arguments: float) -> None:
  for name, value in arguments.items():
    if not 0 < value <= 1:
      raise ValueError(f"{name} must be in (0, 1], got {value}")


def check_choice(choices: Collection[str], **arguments: str) -> None:
  for name, value in arguments.items():
    if value not in choices:
      text = f"{name} must be one of {', '.join(choices)}, got {value!r}"
      raise ValueError(text)
