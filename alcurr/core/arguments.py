"""Checks of the arguments of factories; each raises ValueError."""

from collections.abc import Collection
from typing import Any

from alcurr.core.registry import Registry, registry_of


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


def check_record(record: Any, **arguments: Any) -> None:
  """Checks that arguments are None or of a record, as its factories return.

  Numbers pass where they stand for the record, as they do for schedules.
  """
  registry = registry_of(record)
  for name, value in arguments.items():
    if value is None or _is_record(value, record, registry):
      continue
    kind = f"a {record.__name__}" if isinstance(record, type) else "a function"
    if registry is not None:
      kind = f"a number or {kind}" if registry.from_number else kind
      kind += f", such as {registry.kind}.{_example(value, registry)}"
    got = repr(value) if isinstance(value, str) else type(value).__name__
    raise ValueError(f"{name} must be {kind}, got {got}")


def _is_record(value: Any, record: Any, registry: Registry | None) -> bool:
  if isinstance(record, type):
    return isinstance(value, record)
  if registry is not None:
    # The factory itself is callable too.
    if any(value is factory for factory in registry.data.values()):
      return False
    if registry.from_number is not None and hasattr(value, "__float__"):
      return True
  return callable(value)


def _example(value: Any, registry: Registry) -> str:
  """Returns a call of the factory that a text or a function names, or one."""
  said = str(getattr(value, "__name__", value))
  name = said.partition("(")[0].strip()
  if name not in registry:
    return f"{next(iter(registry.data))}(...)"
  return said if said.endswith(")") else f"{name}(...)"
