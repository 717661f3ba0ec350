"""Configs from files and command lines; a mistake in either is a UserError."""

import difflib
import keyword
import os
import pathlib
import re
import runpy
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from alcurr.core import cli
from alcurr.core.errors import UserError
from alcurr.core.specs import TYPE_NAMES, did_you_mean, nearest, quoted
from alcurr.experiments.config import plain, schema, shipped, synonyms

_EXPECTED = (
  "an ml_collections.ConfigDict, as "
  "alcurr.experiments.config.defaults.get_config() does"
)


def parse_flags(argv: list[str]) -> list[str]:
  """Parses the flags of absl; a mistake ends the process with status 2.

  Returns:
    The other arguments, of which `load` takes those after the first.
  """
  try:
    return flags.FLAGS(argv, known_only=True)
  except (flags.Error, ValueError) as error:
    sys.exit(cli.say(_as_user_error(error, flags.FLAGS), 2))


def load(text: str | None, options: Sequence[str] = ()) -> ConfigDict:
  """Loads the locked config of `configs/x.py` or `configs/x.py:arguments`.

  Args:
    text: the path of a Python file with a function `get_config`, or the name of
      a shipped config; and, after a colon, the argument of that function.
    options: set fields, such as `--config.data.dir=DIR`.

  Raises:
    UserError: there is no such file, or it fails or returns something else; or
      see `with_options`.
  """
  if not text:
    expected = "expected a name of `alcurr list configs`, such as quickstart, "
    expected += "or a Python file with get_config()"
    raise UserError("missing", "--config", expected)
  given, argument = split(os.path.expanduser(text))
  path = shipped.find(given)
  place, file = f"--config={given}", pathlib.Path(path)
  if not file.is_file():
    known = {name: name for name in shipped.describe()}
    known |= {p.stem: str(p) for p in file.parent.glob("*.py")}
    close = difflib.get_close_matches(file.stem, known, n=1, cutoff=0.8)
    hint = "; `alcurr list configs` has the names that need none"
    if close:
      hint = f". Did you mean {known[close[0]]}?"
    raise UserError("missing", place, f"no such file{hint}")
  shipped.make_importable(file)
  try:
    get_config = runpy.run_path(path).get("get_config")
    if not callable(get_config):
      raise UserError("missing", place, f"get_config() must return {_EXPECTED}")
    config = get_config(*([] if argument is None else [argument]))
  except UserError:
    raise
  except Exception as error:  # the file is a program of the user's
    raise _failure(path, error) from error
  if not isinstance(config, ConfigDict):
    problem = f"{_EXPECTED}, got {type(config).__name__}"
    raise UserError("type", place, f"get_config() must return {problem}")
  return with_options(plain.normalize(config, schema.FIELDS), options)


def split(text: str) -> tuple[str, str | None]:
  """Splits `configs/x.py:argument` at its first colon after a file's path."""
  colons = [match.start() for match in re.finditer(":", text)]
  ends = [*colons, len(text)]
  end = next((n for n in ends if pathlib.Path(text[:n]).is_file()), ends[0])
  return text[:end], text[end + 1 :] if end < len(text) else None


def with_options(config: ConfigDict, options: Sequence[str]) -> ConfigDict:
  """Returns a locked copy of a config with the fields that options set.

  Raises:
    UserError: an option of another form, an unknown field, or a value of
      another type than the field's.
  """
  samplers = [*config.get("samplers", ())]
  if odd := [name for name in samplers if not _is_plain(name)]:
    names = {name: f"sampler_{i}_of_options" for i, name in enumerate(odd)}
    return _renamed(config, options, names)
  config, options = _add_samplers(config, options)
  _check_names(config, options)
  values, argv = flags.FlagValues(), ["", *options]
  try:
    config_flags.DEFINE_config_dict(
      "config",
      plain.to_config(config.to_dict()).lock(),
      flag_values=values,
      sys_argv=argv,
    )
    rest = values(argv)
  # What absl and ml_collections raise for an option that does not fit.
  except (flags.Error, KeyError, TypeError, ValueError) as error:
    raise _as_user_error(error, values) from error
  if rest[1:]:
    text = "expected options alone, which begin with --"
    raise UserError("unknown", rest[1], text)
  return values["config"].value


def _add_samplers(
  config: ConfigDict, options: Sequence[str]
) -> tuple[ConfigDict, list[str]]:
  """Adds what `--config.samplers.NAME=SPEC` says; returns the other options."""
  known, added, others = config.get("samplers", {}), {}, []
  for option in options:
    new = re.fullmatch(r"--?config\.samplers\.(\w+)=(.+)", option)
    if new and new[1] not in known:
      added[new[1]] = {"name": new[2]}
    else:
      others.append(option)
  if not added:
    return config, others
  values = config.to_dict()
  samplers = {"samplers": values["samplers"] | added}
  return plain.to_config(values | samplers).lock(), others


def _is_plain(name: str) -> bool:
  return name.isidentifier() and not keyword.iskeyword(name)


def _renamed(
  config: ConfigDict, options: Sequence[str], names: Mapping[str, str]
) -> ConfigDict:
  """Sets options while samplers have other names, which are then restored.

  ml_collections reads a field's path as Python, where a name has no dot.
  """

  def rename(option: str) -> str:
    for name in sorted(names, key=len, reverse=True):  # v1.0 before v1
      start = rf"(--?(?:no)?config\.samplers\.){re.escape(name)}(?=[.=]|$)"
      if match := re.match(start, option):
        return match[1] + names[name] + option[match.end() :]
    return option

  def with_names(names: Mapping[str, str], config: ConfigDict) -> ConfigDict:
    values = config.to_dict()
    samplers = {names.get(k, k): v for k, v in values["samplers"].items()}
    return plain.to_config(values | {"samplers": samplers}).lock()

  back = {new: name for name, new in names.items()}
  try:
    options = [*map(rename, options)]
    return with_names(back, with_options(with_names(names, config), options))
  except UserError as error:
    place, text = str(error.place), error.text
    for new, name in back.items():
      place, text = place.replace(new, name), text.replace(new, name)
    raise UserError(error.code, place, text) from error


def value_of(config: ConfigDict, field: str, text: str) -> Any:
  """Reads a text as a value of a config's field, by its dotted name.

  Raises:
    UserError: no such field, or a text that is not of its type.
  """
  option = f"--config.{field}"
  value = with_options(config, [f"{option}={text}"])
  while field:
    # A sampler's name may have dots.
    name = max((k for k in value if f"{field}.".startswith(f"{k}.")), key=len)
    value, field = value[name], field[len(name) + 1 :]
  if isinstance(value, ConfigDict):
    raise UserError("type", option, "expected one field, got a group of fields")
  return value


def _check_names(config: ConfigDict, options: Sequence[str]) -> None:
  """Refuses options such as `--config.trails=3`; names the nearest field."""
  for option in options:
    match = re.match(r"--?(?:no)?config\.([^=]*)", option)
    known, place = config, "--config"
    for key in match[1].split(".") if match else []:
      names = list(known) if isinstance(known, ConfigDict) else []
      if key not in names:
        near = did_you_mean(key, names, f"{place}.")
        text = f"no such field{synonyms.hint(key) or near}"
        raise UserError("unknown", f"{place}.{key}", text)
      known, place = known[key], f"{place}.{key}"


def _as_user_error(error: Exception, values: flags.FlagValues) -> UserError:
  cause = error.__context__
  if isinstance(error, flags.CantOpenFlagFileError):
    return UserError("missing", "--flagfile", str(cause))
  if isinstance(error, flags.UnrecognizedFlagError):
    near = did_you_mean(error.flagname, flags.FLAGS, "--")
    text = f"no such option{synonyms.hint(error.flagname) or near}"
    return UserError("unknown", f"--{error.flagname}", text)
  if isinstance(error, flags.IllegalFlagValueError):
    option = str(error).removesuffix(f": {cause}").removeprefix("flag ")
    option, _, value = option.partition("=")
    group = values["config"].value
    for key in option.split(".")[1:]:
      group = group.get(key) if isinstance(group, ConfigDict) else None
    if isinstance(group, ConfigDict):
      text = f"expected a dict, or {option}.NAME=VALUE for one of its fields, "
      text += f"got {quoted(value)}. {nearest(value, group)}"
      return UserError("type", option, text)
    kind = values[option.removeprefix("--")].parser.flag_type()
    expected = {k.__name__: name for k, name in TYPE_NAMES.items()}.get(kind)
    text = f"expected {expected}, got {value!r}" if expected else str(cause)
    return UserError("type", option, text)
  text = str(error.args[0] if error.args else error).rstrip(".")
  option = re.search(r"--[\w.]+", text)
  return UserError("syntax", option[0] if option else "the command line", text)


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
