"""Configs from files and command lines; a mistake in either is a UserError."""

import difflib
import pathlib
import re
import runpy
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from alcurr.core import cli
from alcurr.core.errors import UserError
from alcurr.core.specs import TYPE_NAMES, did_you_mean

_EXPECTED = "an ml_collections.ConfigDict, as configs/default.py returns"
_BOOLS = {"true": True, "false": False}
# How a field's value is read from a text.
_READERS = {
  bool: lambda text: _BOOLS[text.lower()],
  int: int,
  float: float,
  str: str,
}


class Parser(flags.ArgumentParser):
  """Parses the flag --config.

  The parser of ml_collections raises some mistakes in a file as they are, and
  quotes the whole traceback of others.
  """

  def parse(self, argument: str) -> ConfigDict:
    config = load(argument)
    # ml_collections, too, reads the options that set fields from here.
    argv = flags.FLAGS.read_flags_from_files(sys.argv, force_gnu=False)
    check_names(config, argv)
    return config


def parse_flags(argv: list[str]) -> list[str]:
  """Parses the command line; a mistake ends the process with status 2."""
  try:
    rest = flags.FLAGS(argv)
    if flags.FLAGS["config"].value is None:
      raise _no_config()
    if rest[1:]:
      text = "expected options alone, which begin with --"
      raise UserError("unknown", rest[1], text)
  # What absl and ml_collections raise for an option that does not fit.
  except (flags.Error, KeyError, TypeError, ValueError) as error:
    sys.exit(cli.say(_as_user_error(error), 2))
  return rest


def _no_config() -> UserError:
  return UserError(
    "missing", "--config", "name an experiment: --config=configs/quickstart.py"
  )


def _as_user_error(error: Exception) -> UserError:
  cause = error.__context__
  if isinstance(error, UserError):
    return error
  if isinstance(error, flags.CantOpenFlagFileError):
    return UserError("missing", "--flagfile", str(cause))
  if isinstance(error, flags.IllegalFlagValueError):
    if isinstance(cause, UserError):
      return cause
    option = str(error).removesuffix(f": {cause}").removeprefix("flag ")
    option, _, value = option.partition("=")
    kind = flags.FLAGS[option.removeprefix("--")].parser.flag_type()
    kinds = {"int": int, "float": float, "bool": bool}
    if kind not in kinds:
      return UserError("type", option, str(cause))
    expected = TYPE_NAMES[kinds[kind]]
    return UserError("type", option, f"expected {expected}, got {value!r}")
  text = str(error.args[0] if error.args else error).rstrip(".")
  if isinstance(error, flags.UnrecognizedFlagError):
    return UserError("unknown", f"--{error.flagname}", text)
  option = re.search(r"--[\w.]+", text)
  return UserError("syntax", option[0] if option else "the command line", text)


def load(text: str) -> ConfigDict:
  """Loads the locked config of `configs/x.py` or `configs/x.py:arguments`.

  Args:
    text: the path of a Python file with a function `get_config`, and, after a
      colon, the argument of that function.

  Raises:
    UserError: there is no such file, or it fails or returns something else.
  """
  path, colon, argument = text.partition(":")
  arguments = [argument] if colon else []
  _check_file(pathlib.Path(path))
  place = f"--config={path}"
  try:
    get_config = runpy.run_path(path).get("get_config")
    if not callable(get_config):
      raise UserError("missing", place, f"get_config() must return {_EXPECTED}")
    config = get_config(*arguments)
  except UserError:
    raise
  except Exception as error:  # the file is a program of the user's
    raise _failure(path, error) from error
  if not isinstance(config, ConfigDict):
    raise UserError(
      "type",
      place,
      f"get_config() must return {_EXPECTED}, got {type(config).__name__}",
    )
  return config.lock()


def check_names(config: ConfigDict, argv: Sequence[str]) -> None:
  """Refuses options such as `--config.trails=3` for unknown fields.

  Raises:
    UserError: with the nearest field.
  """
  for option in argv:
    match = re.match(r"--?(?:no)?config\.([^=]*)", option)
    known, place = config, "--config"
    for key in match[1].split(".") if match else []:
      names = list(known) if isinstance(known, ConfigDict) else []
      if key not in names:
        text = f"no such field{did_you_mean(key, names, f'{place}.')}"
        raise UserError("unknown", f"{place}.{key}", text)
      known, place = known[key], f"{place}.{key}"


def load_with(text: str, options: Sequence[str]) -> ConfigDict:
  """Loads a config and sets fields, for commands that use argparse.

  Args:
    text: as of `load`.
    options: such as `--config.data.dir=DIR`.

  Raises:
    UserError: an option of another form, an unknown field, or a value of
      another type than the field's.
  """
  config = load(text)
  values = {}
  for option in options:
    match = re.fullmatch(r"--config\.([^=]+)=(.*)", option, re.DOTALL)
    if not match:
      expected = "expected options of the form --config.field=value"
      raise UserError("unknown", option, expected)
    values[match[1]] = value_of(config, *match.groups())
  with config.unlocked():
    config.update_from_flattened_dict(values)
  return config


def value_of(config: ConfigDict, field: str, text: str) -> Any:
  """Reads a text as a value of a config's field.

  Args:
    config: has the field.
    field: its dotted name.
    text: the value.

  Raises:
    UserError: no such field, or a text that is not of its type.
  """
  place = f"--config.{field}"
  check_names(config, [place])
  value = config
  for key in field.split("."):
    value = value[key]
  kind = type(value)
  if kind not in _READERS:
    raise UserError("type", place, "expected one field, got a group of fields")
  try:
    return _READERS[kind](text)
  except (KeyError, ValueError) as error:
    problem = f"expected {TYPE_NAMES[kind]}, got {text!r}"
    raise UserError("type", place, problem) from error


def _check_file(path: pathlib.Path) -> None:
  if path.is_file():
    return
  if str(path) == ".":
    raise _no_config()
  siblings = {p.stem: p for p in path.parent.glob("*.py")}
  close = difflib.get_close_matches(path.stem, siblings, n=1, cutoff=0.8)
  hint = f". Did you mean {siblings[close[0]]}?" if close else ""
  raise UserError("missing", f"--config={path}", f"no such file{hint}")


def _failure(path: str, error: Exception) -> UserError:
  """Describes what a config raised, and where.

  A wrong number of arguments after the colon is such an error, too.
  """
  if type(error) is ValueError:  # of `defaults.arguments` and the like
    return UserError("argument", f"--config={path}", str(error))
  line = getattr(error, "lineno", None)  # of a SyntaxError
  for frame in traceback.extract_tb(error.__traceback__):
    if frame.filename == path:
      line = frame.lineno
  place = f"--config={path}" + (f", line {line}" if line else "")
  reason = error.msg if isinstance(error, SyntaxError) else error
  return UserError("syntax", place, f"{type(error).__name__}: {reason}")
