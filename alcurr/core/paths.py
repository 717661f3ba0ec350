"""Folders and names that could not be used, refused before they are."""

import os
import pathlib

from alcurr.core.errors import UserError


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
