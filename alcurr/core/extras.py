"""Imports of packages that only some features need."""

import importlib
from types import ModuleType

from alcurr.core.errors import UserError


def import_extra(module: str, extra: str, place: str) -> ModuleType:
  """Imports a package of an extra, or a module of alcurr that needs one.

  Raises:
    UserError: about `place`, what needs it, if a package is not installed.
  """
  try:
    return importlib.import_module(module)
  except ModuleNotFoundError as error:
    text = f"needs {error.name}: pip install 'alcurr[{extra}]'"
    raise UserError("package", place, text) from error
