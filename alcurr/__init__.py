"""alcurr: which examples should my model see next?

`alcurr.compare` is an experiment in one call, for notebooks; everything else
is imported from its module.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from alcurr.experiments.comparison import Comparison, compare  # noqa: F401

_FRONT_DOOR = ("Comparison", "compare")


def __getattr__(name: str) -> Any:
  """The front door, imported when it is opened: it needs all the rest."""
  if name == "gains":
    return importlib.import_module("alcurr.bandits.gains")
  if name not in _FRONT_DOOR:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  from alcurr.experiments import comparison

  return getattr(comparison, name)
