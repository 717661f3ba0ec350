"""alcurr: which examples should my model train on next?

    from alcurr import bandits, gains, samplers    the library of samplers
    alcurr.compare(images, labels, ...)            an experiment in one call
    alcurr.find_label_issues(images, labels)       the rows with wrong labels

Names are imported when they are first used, so that the samplers need jax,
numpy and optax alone.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from alcurr import bandits, data, models, samplers, testing, training
  from alcurr.bandits import gains
  from alcurr.core.errors import UserError
  from alcurr.experiments.comparison import Comparison, compare
  from alcurr.experiments.label_issues import find_label_issues
  from alcurr.types import Bandit, Gain, Pool, Sampler

# `python -m alcurr...` starts: the imports of a command take seconds, in which
# signals come too.
if sys.argv[:1] == ["-m"]:
  from alcurr.core import startup
  from alcurr.experiments import preemption

  startup.prepare()
  preemption.watch_process()

__version__ = "0.1.0"

# The modules of the public names that are not subpackages.
_MODULES = {
  "Bandit": "alcurr.types",
  "Comparison": "alcurr.experiments.comparison",
  "Gain": "alcurr.types",
  "Pool": "alcurr.types",
  "Sampler": "alcurr.types",
  "UserError": "alcurr.core.errors",
  "compare": "alcurr.experiments.comparison",
  "find_label_issues": "alcurr.experiments.label_issues",
  "gains": "alcurr.bandits",
}

__all__ = [
  "Bandit",
  "Comparison",
  "Gain",
  "Pool",
  "Sampler",
  "UserError",
  "__version__",
  "bandits",
  "compare",
  "data",
  "find_label_issues",
  "gains",
  "models",
  "samplers",
  "testing",
  "training",
]


def __getattr__(name: str) -> Any:
  """Imports a public name on first use."""
  if name in _MODULES:
    return getattr(importlib.import_module(_MODULES[name]), name)
  if name in __all__:
    return importlib.import_module(f"alcurr.{name}")
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  """Lists the public names, for completion."""
  return list(__all__)
