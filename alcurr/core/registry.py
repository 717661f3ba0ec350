"""Factories by name: the built-in ones, and those of other packages.

A package offers factories by entry points, in its pyproject.toml:

    [project.entry-points."alcurr.samplers"]
    round_robin = "their_package.round_robin:round_robin"

None of it is imported before a config names it. A built-in name always means
the built-in factory.
"""

import functools
import importlib.metadata
import pathlib
import sys
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from alcurr.core.errors import UserError

Factory = Callable[..., Any]

# The registries by what their factories return. A list: an annotation that is
# compared with a record need not be hashable.
_BY_RECORD: list[tuple[Any, "Registry"]] = []


class Registry(UserDict[str, Factory]):
  """Factories by name; iterating over the names imports no package."""

  def __init__(
    self,
    kind: str,
    builtin: Mapping[str, Factory],
    record: Any = None,
    from_number: Callable[[float], Any] | None = None,
  ):
    """Registers the built-in factories.

    Args:
      kind: the plural, such as "samplers"; other packages' factories are the
        entry points of the group `alcurr.<kind>`.
      builtin: the factories by name.
      record: the type that the factories return. Arguments annotated with it
        take specs of this registry.
      from_number: makes the record that a bare number stands for.
    """
    self.kind = kind
    self.record = record
    self.from_number = from_number
    self._group = f"alcurr.{kind}"
    super().__init__(builtin)
    if record is not None:
      _BY_RECORD.append((record, self))

  def __missing__(self, name: str) -> Factory:
    """Returns the factory of another package, which is imported.

    Raises:
      KeyError: there is none of that name.
      UserError: several packages offer it, or it cannot be imported.
    """
    points = _entry_points().select(group=self._group, name=name)
    if not points:
      raise KeyError(name)
    place = f"{self._group}.{name}"
    packages = " and ".join(sorted({point.dist.name for point in points}))
    if len(points) > 1:
      text = f"expected one package to offer it, got {packages}"
      raise UserError("package", place, text)
    try:
      factory = next(iter(points)).load()
      if not callable(factory):
        raise TypeError(f"it is of type {type(factory).__name__}")
    except Exception as error:  # a package's import may raise anything
      reason = " ".join(f"{type(error).__name__}: {error}".split())
      text = f"package {packages} offers no factory: {reason}"
      raise UserError("package", place, text) from error
    return factory

  def __contains__(self, name: object) -> bool:
    return name in self.data or name in self._offered()

  def __iter__(self) -> Iterator[str]:
    yield from self.data
    yield from sorted(self._offered() - self.data.keys())

  def __len__(self) -> int:
    return len(self.data.keys() | self._offered())

  def _offered(self) -> set[str]:
    return set(_entry_points().select(group=self._group).names)

  def is_record(self, value: Any) -> bool:
    """Returns whether a value is what the factories return."""
    if isinstance(self.record, type):
      return isinstance(value, self.record)
    return self.record is not None and callable(value)


def _entry_points() -> importlib.metadata.EntryPoints:
  """Returns those of all packages that are installed now."""
  return _read_entry_points(*map(_last_change, sys.path))


def _last_change(folder: str) -> tuple[str, int | None]:
  """Returns a folder and the time of its last change; None: there is none."""
  path = pathlib.Path(folder)
  return folder, path.stat().st_mtime_ns if path.exists() else None


# It opens a file of every package, and a config looks up dozens of names.
@functools.lru_cache(maxsize=1)
def _read_entry_points(
  *folders: tuple[str, int | None],
) -> importlib.metadata.EntryPoints:
  """Reads those of the packages in folders as they were last changed."""
  return importlib.metadata.entry_points()


def registry_of(annotation: Any) -> Registry | None:
  """Returns the registry whose factories return what is annotated."""
  return next(
    (registry for record, registry in _BY_RECORD if record == annotation), None
  )
