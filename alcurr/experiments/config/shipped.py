"""The configs that come with alcurr, by name: `alcurr run quickstart`.

They are in the package, or beside it in a clone of the repository.
"""

import ast
import contextlib
import pathlib
import sys
import types

_PACKAGE = pathlib.Path(__file__).parents[2]
_NAME = "configs"  # the package that the configs import each other from


def folder() -> pathlib.Path:
  """Returns the folder of the configs."""
  inside = _PACKAGE / _NAME
  return inside if inside.is_dir() else _PACKAGE.parent / _NAME


def find(text: str) -> str:
  """Returns the path of a shipped config's name, or else the text itself."""
  path = folder() / f"{text}.py"
  is_name = text.isidentifier() and path.is_file()
  return str(path) if is_name and not pathlib.Path(text).is_file() else text


def make_importable(path: pathlib.Path) -> None:
  """Lets a config import the others of its folder, as `configs.default`.

  A command that is no module of Python's does not search the working
  directory. What a folder of the user's lacks is found among the shipped ones.
  """
  if _NAME in sys.modules:
    return
  folders = [pathlib.Path(_NAME).resolve(), folder()]
  if path.resolve().parent.name == _NAME:
    folders.insert(0, path.resolve().parent)
  module = types.ModuleType(_NAME)
  module.__path__ = [str(x) for x in folders]
  sys.modules[_NAME] = module


def docstring(path: pathlib.Path) -> str:
  """Returns the text at the top of a config's file; "" if there is none."""
  with contextlib.suppress(SyntaxError, UnicodeDecodeError):
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
  return ""  # running it says what is wrong


def describe() -> dict[str, str]:
  """Returns the first line of each config's docstring by its name."""
  return {
    path.stem: first_line(docstring(path))
    for path in sorted(folder().glob("*.py"))
    if path.stem != "__init__"
  }


def first_line(doc: str | None) -> str:
  """Returns the first line of a docstring; "" if there is none."""
  return (doc or "").strip().partition("\n")[0]
