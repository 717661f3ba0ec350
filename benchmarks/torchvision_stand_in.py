"""An empty torchvision, for libraries that import it without need.

timm and Composer import torchvision, but nothing here uses it. If it is not
installed, importing this module provides empty classes instead.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys


class _Anything(type):
  """A class that has every attribute, each with its own name as value."""

  def __getattr__(cls, name: str) -> str:
    if name.startswith("__"):
      raise AttributeError(name)
    return name


class _StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
  """Finds torchvision and all of its modules, with empty classes."""

  def find_spec(self, fullname, path=None, target=None):
    if fullname.split(".")[0] != "torchvision":
      return None
    return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

  def create_module(self, spec):
    return None

  def exec_module(self, module):
    def anything(name: str) -> type:
      if name.startswith("__"):
        raise AttributeError(name)
      return _Anything(name, (), {})

    module.__getattr__ = anything


if importlib.util.find_spec("torchvision") is None:
  sys.meta_path.append(_StandIn())
