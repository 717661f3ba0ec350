"""What is refused as a workdir, before anything is written there."""

import os
import pathlib

from ml_collections import ConfigDict

from alcurr import lock, writer
from alcurr.errors import UserError
from alcurr.fields import flatten, is_free


def check_workdir(workdir: pathlib.Path, config: ConfigDict) -> None:
  """Refuses a folder that holds anything but this very experiment."""
  check_can_make(workdir, "--workdir")
  path = workdir / "config.json"
  if not path.exists():
    # Folders that hold none are what is left of one that was deleted.
    files = (p.name for p in workdir.rglob("*") if not p.is_dir())
    if not all(
      name == lock.NAME or writer.is_temporary(name) for name in files
    ):
      raise UserError(
        f"{workdir} holds files that are not an experiment's; choose an "
        "empty or new --workdir."
      )
    return
  # As JSON has it: a tuple comes back as a list.
  record = writer.read_record(path)
  if record is None:
    raise UserError(
      f"{path} is damaged: it says no more what experiment this is; choose "
      "another --workdir."
    )
  for result in sorted(workdir.glob("runs/*/result.json")):
    if writer.read_record(result) is None:
      raise UserError(
        f"{result} is damaged; delete it, and that run is done again."
      )
  there, here = flatten(record), flatten(writer.plain(config.to_dict()))
  for field in sorted(there.keys() | here.keys()):
    if is_free(field):
      continue
    if there.get(field) != here.get(field):
      raise UserError(
        f"{workdir} holds an experiment of another config ({field} is "
        f"{there.get(field)!r} there, {here.get(field)!r} here); choose "
        "another --workdir."
      )


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


def check_plain(name: str, what: str) -> None:
  """Refuses a name that would lead to another folder, as that of a file."""
  if pathlib.PurePath(name).name != name or name == ".." or "\0" in name:
    raise UserError(f"{what} is called {name!r}, which names another folder.")
