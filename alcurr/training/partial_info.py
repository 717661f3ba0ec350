"""Records of which a loop knows only some fields."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

R = TypeVar("R")


class _Unknown:
  """The value of a field that is not known."""

  def __init__(self, error: Exception):
    self.error = error


def make_partial(
  record: type[R], refuse: Callable[[str], Exception], **known: Any
) -> R:
  """Returns a record; the use of a field that is not known raises an error.

  Args:
    record: a NamedTuple, such as StepInfo.
    refuse: returns the error for a field's name.
    **known: the fields that are known.
  """
  fields = {name: _Unknown(refuse(name)) for name in record._fields}
  return _partial_class(record)(**(fields | known))


@functools.cache
def _partial_class(record: type[R]) -> type[R]:
  """Returns a subclass whose unknown fields raise their errors."""

  def read(self: R, name: str) -> Any:
    value = record.__getattribute__(self, name)
    if isinstance(value, _Unknown):
      raise value.error
    return value

  # Of the record's own name, which a traceback or a repr shows.
  methods = {"__slots__": (), "__getattribute__": read}
  return type(record.__name__, (record,), methods)
