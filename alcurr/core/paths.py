"""Paths as users mean them; those that cannot be used are refused."""

import os
import pathlib
import re

from alcurr.core.errors import UserError

# Orbax takes the whole path for a pattern or a URL, and then reads elsewhere.
_NO_CHECKPOINTS = re.compile(r"[\\\[\]]|gs:/")
# SQLAlchemy, or Optuna, reads these within a URL as something else.
_NO_DATABASE = re.compile(r"[?{}]|%[0-9A-Fa-f]{2}")


def absolute(path: str | os.PathLike[str], place: str = "path") -> pathlib.Path:
  """Returns the path that a user means, with `~` expanded, as absolute.

  Each path is read by this where it enters, and not again. Links stay, except
  before a `..`, which the system reads as the parent of the link's target.

  Raises:
    UserError: at `place`; it is empty, not a path, or of an unknown user.
  """
  try:
    text = os.fspath(path)
    is_home = text.startswith("~")
    # Not by pathlib, which takes ./~ for ~.
    expanded = pathlib.Path(os.path.expanduser(text) if is_home else text)
    if not text or "\0" in text or (is_home and str(expanded) == text):
      raise ValueError("expected a path, and the name of a user after ~")
    is_plain = ".." not in expanded.parts
    return expanded.absolute() if is_plain else expanded.resolve()
  except TypeError as error:
    raise UserError("type", place, f"expected a path, got {path!r}") from error
  except (ValueError, RuntimeError, OSError) as error:  # such as a loop
    raise UserError("syntax", place, f"{path!r}: {error}") from error


def check_can_make(folder: pathlib.Path, option: str) -> None:
  """Refuses an option's folder that cannot be made or written to."""
  try:
    parents = (folder, *folder.parents)
    place = next(p for p in parents if p.is_symlink() or p.exists())
    if not place.exists():
      reason = f"{place} is a link to nothing"
    elif not place.is_dir():
      reason = f"{place} is a file"
    elif not os.access(place, os.W_OK | os.X_OK):
      reason = f"{place} cannot be written to"
    else:
      return
  except OSError as error:  # such as a name that is too long
    reason = error.strerror
  raise UserError("disk", option, f"{folder} cannot be used: {reason}")


def check_can_checkpoint(folder: pathlib.Path, option: str) -> None:
  """Refuses a folder that Orbax would take for another one."""
  match = _NO_CHECKPOINTS.search(str(folder))
  reason = match and f"checkpoints cannot be below a path with {match[0]!r}"
  try:
    if os.fsencode(folder) != str(folder).encode():
      reason = "its name is not text in UTF-8; try LC_ALL=C.UTF-8"
  except UnicodeEncodeError:
    reason = "the locale cannot encode its name; try LC_ALL=C.UTF-8"
  if reason:
    # A terminal may not be able to show the name.
    raise UserError("disk", option, f"{str(folder)!a}: {reason}")


def sqlite_url(path: pathlib.Path, option: str) -> str:
  """Returns the URL of a database; refuses a path that no URL can hold."""
  if match := _NO_DATABASE.search(str(path)):
    text = f"{path}: a database cannot be below a path with {match[0]!r}"
    raise UserError("disk", option, text)
  return f"sqlite:///{path}"


def can_write(folder: pathlib.Path) -> bool:
  """Returns whether files can be written to a folder, which may be missing."""
  place = folder if folder.exists() else folder.parent
  return os.access(place, os.W_OK | os.X_OK)


def check_plain(name: str, what: str) -> None:
  """Refuses what no file is called, or leads to another folder."""
  is_part = pathlib.PurePath(name).name == name and name != ".."
  if not (is_part and name.isprintable()):
    raise UserError("syntax", what, f"expected a plain file name, got {name!r}")
