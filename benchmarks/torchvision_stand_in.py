"""A torchvision without content, for libraries that import it and use nothing.

timm and Composer ask for torchvision, of which nothing is needed here: where
it is not installed, importing this module puts classes of nothing in its
place.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys


class _Anything(type):
  """A class that has every attribute: its name."""

  def __getattr__(cls, name: str) -> str:
    if name.startswith("__"):
      raise AttributeError(name)
    return name


class _StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
  """Finds torchvision and whatever is imported of it: classes of nothing."""

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
