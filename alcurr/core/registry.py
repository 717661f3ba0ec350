"""Factories of other packages, named as the built-in ones are.

A package offers them by entry points of its own, in its pyproject.toml:

    [project.entry-points."alcurr.samplers"]
    round_robin = "their_package.round_robin:round_robin"

Nothing of it is imported before a config names it. What alcurr has by a name
is never looked for elsewhere.
"""

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from alcurr.core.errors import UserError


class Registry(dict[str, Callable[..., Any]]):
  """Built-in factories by name; another name is an entry point's."""

  def __init__(self, kind: str, builtin: Mapping[str, Callable[..., Any]]):
    """With the entry points of the group `alcurr.<kind>`.

    Args:
      kind: in the plural, such as "samplers".
      builtin: the factories, of which the dict itself consists.
    """
    super().__init__(builtin)
    self._group = f"alcurr.{kind}"

  def __missing__(self, name: str) -> Callable[..., Any]:
    """The factory of an entry point.

    Raises:
      KeyError: there is none of that name.
      UserError: there are several, or it cannot be imported.
    """
    found = importlib.metadata.entry_points(group=self._group, name=name)
    if not found:
      raise KeyError(name)
    packages = sorted({_package(point) for point in found})
    if len(packages) > 1:
      raise UserError(
        f"{' and '.join(packages)} each offer {name!r} of {self._group}; "
        "uninstall all but one."
      )
    return _load(next(iter(found)), f"{name!r} of {self._group}")

  def known(self) -> list[str]:
    """The names of all factories, the installed packages' among them."""
    offered = importlib.metadata.entry_points(group=self._group)
    return sorted({*self, *offered.names})


def known(registry: Mapping[str, Any]) -> Iterable[str]:
  """The names that a registry or a plain dict has."""
  return registry.known() if isinstance(registry, Registry) else registry


def _package(point: importlib.metadata.EntryPoint) -> str:
  return point.dist.name if point.dist else point.value


def _load(
  point: importlib.metadata.EntryPoint, what: str
) -> Callable[..., Any]:
  try:
    factory = point.load()
  except Exception as error:  # anything that a package raises as it is imported
    said = " ".join(str(error).split())
    raise UserError(
      f"the package {_package(point)} offers {what} and cannot be imported "
      f"({type(error).__name__}: {said}); mend it, or uninstall it."
    ) from error
  if not callable(factory):
    raise UserError(
      f"the package {_package(point)} offers {what} by {point.value}, which is "
      f"of type {type(factory).__name__} and no factory; mend it, or uninstall "
      "it."
    )
  return factory
