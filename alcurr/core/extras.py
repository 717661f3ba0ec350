"""Imports of packages that only some features need."""

import importlib
from types import ModuleType

from alcurr.core.errors import UserError


def import_extra(module: str, extra: str, place: str) -> ModuleType:
  """Imports a module that needs packages of an extra.

  Args:
    module: the package itself, or a module of alcurr that imports it.
    extra: its name in `pip install 'alcurr[extra]'`.
    place: what needs it, for the message.

  Raises:
    UserError: a package is not installed.
  """
  try:
    return importlib.import_module(module)
  except ModuleNotFoundError as error:
    raise UserError(
      "package", place, f"needs {error.name}: pip install 'alcurr[{extra}]'"
    ) from error
