"""What a run leaves on disk: whole files, JSON and lines of JSON."""

import contextlib
import datetime
import importlib.metadata
import json
import math
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from alcurr.errors import UserError
from alcurr.fields import flatten


def write_file(path: pathlib.Path, write: Callable[[Any], None]) -> None:
  """Writes a file under a temporary name, then renames it.

  A reader, or a run that was cut off, sees the whole file or none.

  Args:
    path: where; its folder is made.
    write: called with the open binary file.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.{os.getpid()}")
  try:
    with temporary.open("wb") as file:
      write(file)
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
  """Arrays to lists, and numbers JSON has no word for to None."""
  if isinstance(value, dict):
    return {str(k): _plain(v) for k, v in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(v) for v in value]
  if isinstance(value, np.ndarray | np.generic):
    return _plain(value.tolist())
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def write_json(path: pathlib.Path, value: Any) -> None:
  text = json.dumps(_plain(value), indent=2, allow_nan=False) + "\n"
  write_file(path, lambda file: file.write(text.encode()))


def read_json(path: pathlib.Path) -> Any:
  return json.loads(path.read_text(encoding="utf-8"))


@contextlib.contextmanager
def json_lines(
  path: pathlib.Path,
) -> Iterator[Callable[[dict[str, Any]], None]]:
  """A function that appends a row to a file made anew, a line a row."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with path.open("w", encoding="utf-8") as file:

    def write(row: dict[str, Any]) -> None:
      file.write(json.dumps(_plain(row), allow_nan=False) + "\n")
      file.flush()

    yield write


def read_record(path: pathlib.Path) -> dict[str, Any] | None:
  """A JSON object that a user may have edited; None where it is damaged."""
  try:
    record = read_json(path)
  # JSON nested deeper than Python's stack is none of ours either.
  except (ValueError, RecursionError):
    return None
  return record if isinstance(record, dict) else None


def check_plain(name: str, what: str) -> None:
  """Refuses a name that would lead to another folder, as that of a file."""
  if pathlib.PurePath(name).name != name or name == ".." or "\0" in name:
    raise UserError(f"{what} is called {name!r}, which names another folder.")


def check_can_make(folder: pathlib.Path, option: str) -> None:
  """Refuses a folder that could not be made or written, and makes nothing.

  Args:
    folder: that need not exist.
    option: which chooses it, for the message.
  """
  try:
    for place in (folder, *folder.absolute().parents):
      if place.exists():
        break
    if not place.is_dir():
      reason = f"{place} is a file"
    elif not os.access(place, os.W_OK | os.X_OK):
      reason = f"{place} cannot be written to"
    else:
      return
  except OSError as error:  # such as a name too long
    reason = error.strerror
  raise UserError(
    f"{folder} cannot be used: {reason}; choose another {option}."
  )


def check_workdir(workdir: pathlib.Path, config: ConfigDict) -> None:
  """Refuses a folder that holds anything but this very experiment."""
  check_can_make(workdir, "--workdir")
  path = workdir / "config.json"
  if not path.exists():
    if workdir.exists() and any(workdir.iterdir()):
      raise UserError(
        f"{workdir} holds files that are not an experiment's; choose an "
        "empty or new --workdir."
      )
    return
  # As JSON has it: a tuple comes back as a list.
  record = read_record(path)
  if record is None:
    raise UserError(
      f"{path} is damaged: it says no more what experiment this is; choose "
      "another --workdir."
    )
  for result in sorted(workdir.glob("runs/*/result.json")):
    if read_record(result) is None:
      raise UserError(
        f"{result} is damaged; delete it, and that run is done again."
      )
  there, here = flatten(record), flatten(_plain(config.to_dict()))
  for field in sorted(there.keys() | here.keys()):
    if there.get(field) != here.get(field):
      raise UserError(
        f"{workdir} holds an experiment of another config ({field} is "
        f"{there.get(field)!r} there, {here.get(field)!r} here); choose "
        "another --workdir."
      )


def environment() -> dict[str, str]:
  """What a figure depends on beside the config."""
  packages = ("alcurr", "jax", "jaxlib", "flax", "optax", "numpy")
  return {
    **{name: importlib.metadata.version(name) for name in packages},
    "python": sys.version.split()[0],
    "device": jax.devices()[0].device_kind,
    "date": datetime.date.today().isoformat(),
  }
