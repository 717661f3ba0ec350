"""Folders and names that cannot be used, refused before anything is written."""

import os
import pathlib

from alcurr.core.errors import UserError


def check_can_make(folder: pathlib.Path, option: str) -> None:
  """Refuses an option's folder that cannot be made or written to."""
  try:
    parents = (folder, *folder.absolute().parents)
    place = next(path for path in parents if path.exists())
    if not place.is_dir():
      reason = f"{place} is a file"
    elif not os.access(place, os.W_OK | os.X_OK):
      reason = f"{place} cannot be written to"
    else:
      return
  except OSError as error:  # such as a name that is too long
    reason = error.strerror
  raise UserError("disk", option, f"{folder} cannot be used: {reason}")


def check_plain(name: str, what: str) -> None:
  """Refuses the name of a file that leads to another folder."""
  if pathlib.PurePath(name).name != name or name == ".." or "\0" in name:
    raise UserError("syntax", what, f"expected a plain file name, got {name!r}")
