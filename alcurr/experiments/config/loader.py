"""A config file is the user's own program: whatever it raises is told."""

import difflib
import importlib.machinery
import importlib.util
import inspect
import pathlib
import re
import sys
import traceback
import types
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from alcurr.core.errors import UserError

_RETURN = "an ml_collections.ConfigDict, as configs/default.py does"


class Parser(flags.ArgumentParser):
  """Of the flag --config, in place of ml_collections' own.

  That one lets some of a file's mistakes through as they are and quotes the
  whole traceback of others.
  """

  def parse(self, argument: str) -> ConfigDict:
    config = load(argument)
    # It looks there too for the options that set fields.
    argv = flags.FLAGS.read_flags_from_files(sys.argv, force_gnu=False)
    check_names(config, argv)
    return config


def load(text: str) -> ConfigDict:
  """The locked config of `configs/x.py`, or `configs/x.py:arguments`.

  Args:
    text: the path of a Python file with a function `get_config`, and what is
      passed to it after a colon.

  Raises:
    UserError: no such file, or one that fails or returns something else.
  """
  path, colon, argument = text.partition(":")
  arguments = [argument] if colon else []
  _check_file(pathlib.Path(path))
  try:
    get_config = getattr(_execute(path), "get_config", None)
    if not callable(get_config):
      raise UserError(
        f"--config={path} has no get_config(): write one that returns "
        f"{_RETURN}."
      )
    _check_takes(path, get_config, arguments)
    config = get_config(*arguments)
  except UserError:
    raise
  except Exception as error:
    raise UserError(_told(path, error)) from error
  if not isinstance(config, ConfigDict):
    raise UserError(
      f"--config={path}: get_config() returned {type(config).__name__}; it "
      f"must return {_RETURN}."
    )
  return config.lock()


def check_names(config: ConfigDict, argv: Sequence[str]) -> None:
  """Refuses options such as `--config.trails=3` of fields that are not there.

  Raises:
    UserError: with the nearest field that is.
  """
  for option in argv:
    match = re.match(r"--?(?:no)?config\.([^=]*)", option)
    known, place = config, "--config"
    for key in match[1].split(".") if match else []:
      if not isinstance(known, ConfigDict) or key not in known:
        names = list(known) if isinstance(known, ConfigDict) else []
        close = difflib.get_close_matches(key, names, n=1)
        hint = f" Did you mean {place}.{close[0]}?" if close else ""
        raise UserError(f"{place}.{key}: there is no such field.{hint}")
      known, place = known[key], f"{place}.{key}"


def load_with(text: str, options: Sequence[str]) -> ConfigDict:
  """The config of `load` with fields set, for commands of argparse.

  Args:
    text: as of `load`.
    options: such as `--config.data.dir=DIR`.

  Raises:
    UserError: an option that is not of that form, names no field, or has a
      value of another type than the field's.
  """
  config = load(text)
  check_names(config, options)
  values = {}
  for option in options:
    match = re.fullmatch(r"--config\.([^=]+)=(.*)", option, re.DOTALL)
    if not match:
      raise UserError(
        f"Unknown argument {option!r}; fields are set by --config.field=value."
      )
    values[match[1]] = value_of(config, *match.groups())
  with config.unlocked():
    config.update_from_flattened_dict(values)
  return config


def value_of(config: ConfigDict, field: str, text: str) -> Any:
  """A text as a value of a config's field.

  Args:
    config: that has the field.
    field: its dotted name.
    text: of the value.

  Raises:
    UserError: no such field, or a text that is not of its type.
  """
  check_names(config, [f"--config.{field}="])
  before = config
  for key in field.split("."):
    before = before[key]
  kind = type(before)
  if kind not in _KINDS:
    raise UserError(f"config.{field} cannot be set here; set what is in it.")
  words, read = _KINDS[kind]
  try:
    return read(text)
  except (KeyError, ValueError) as error:
    raise UserError(f"--config.{field}={text}: write {words}.") from error


_BOOLS = {"true": True, "false": False}
# How a field's type is said, and read.
_KINDS = {
  bool: ("true or false", lambda text: _BOOLS[text.lower()]),
  int: ("a whole number", int),
  float: ("a number", float),
  str: ("a text", str),
}


def _check_file(path: pathlib.Path) -> None:
  if path.is_file():
    return
  if str(path) == ".":
    raise UserError("Name an experiment: --config=configs/quickstart.py.")
  if path.is_dir():
    raise UserError(f"--config={path} is a folder; name a file in it.")
  siblings = {p.stem: p for p in path.parent.glob("*.py")}
  close = difflib.get_close_matches(path.stem, siblings, n=1, cutoff=0.8)
  hint = f" Did you mean {siblings[close[0]]}?" if close else ""
  raise UserError(f"--config={path}: there is no such file.{hint}")


def _execute(path: str) -> types.ModuleType:
  loader = importlib.machinery.SourceFileLoader("config_file", path)
  spec = importlib.util.spec_from_loader("config_file", loader)
  module = importlib.util.module_from_spec(spec)
  loader.exec_module(module)
  return module


def _check_takes(path: str, get_config, arguments: list[str]) -> None:
  """Refuses arguments after the colon where none are taken, or needed."""
  try:
    inspect.signature(get_config).bind(*arguments)
  except TypeError as error:
    if arguments:
      raise UserError(
        f"--config={path} takes nothing after its name, got "
        f"{':' + arguments[0]!r}."
      ) from error
    raise UserError(
      f"--config={path} needs arguments after its name, --config={path}:..."
    ) from error


def _told(path: str, error: Exception) -> str:
  """What a config raised, and where; a ValueError's words are meant for us."""
  if type(error) is ValueError:
    return f"--config={path}: {str(error).rstrip('.')}."
  line = getattr(error, "lineno", None)  # of a SyntaxError
  for frame in traceback.extract_tb(error.__traceback__):
    if frame.filename == path:
      line = frame.lineno
  where = f", line {line}" if line else ""
  what = error.msg if isinstance(error, SyntaxError) else error
  kind, what = type(error).__name__, str(what).rstrip(".")
  return f"--config={path}{where}: {kind}: {what}; mend the file."
