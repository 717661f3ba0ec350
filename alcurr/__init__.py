"""alcurr: which examples should my model see next?

`alcurr.compare` is an experiment in one call, for notebooks; everything else
is imported from its module.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from alcurr.comparison import Comparison, compare

__all__ = ["Comparison", "compare"]


def __getattr__(name: str) -> Any:
  """The front door, imported when it is opened: it needs all the rest."""
  if name not in __all__:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  from alcurr import comparison

  return getattr(comparison, name)
