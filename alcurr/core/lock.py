"""One process at a time in a folder."""

import contextlib
import os
import pathlib
import re
import stat
from collections.abc import Iterator

import filelock

from alcurr.core.errors import UserError

# A crash may leave this file, but never the lock: the system releases it.
NAME = ".lock"


@contextlib.contextmanager
def locked(folder: pathlib.Path, option: str = "--workdir") -> Iterator[None]:
  """Excludes other processes from a folder, which is created if missing.

  A folder that was created here and is still empty at the end is removed.

  Raises:
    UserError: about the command line's `option`, if another has locked it, or
      the place of the lock is taken.
  """
  is_new = not folder.exists()
  folder.mkdir(parents=True, exist_ok=True)
  path, owner = folder / NAME, f"{os.getpid()}\n"
  if not _is_lock(path):
    text = f"{path} is not a lock of alcurr; remove it"
    raise UserError("exists", option, text)
  lock = filelock.FileLock(path)
  try:
    lock.acquire(blocking=False)
  except filelock.Timeout:
    owner = "another process"
    with contextlib.suppress(OSError, ValueError):
      owner = f"process {int(path.read_text())}"
    text = f"{folder} is in use by {owner}; wait, or stop it"
    raise UserError("in_use", option, text) from None
  # Never through a link that has come meanwhile.
  file = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
  with open(file, "w") as file:
    file.write(owner)
  try:
    yield
  finally:
    # Removed before the release, and only if it is still our own: the folder
    # may have been deleted and locked by another process meanwhile.
    with contextlib.suppress(FileNotFoundError):
      if path.read_text() == owner:
        path.unlink()
    lock.release()
    if is_new:
      with contextlib.suppress(OSError):  # not empty, or deleted
        folder.rmdir()


def _is_lock(path: pathlib.Path) -> bool:
  """Returns whether a file is a lock that may be written to, or absent.

  Another file of this name, or one that is also elsewhere by a link, would be
  overwritten.
  """
  try:
    status = path.lstat()
  except FileNotFoundError:
    return True
  is_own = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
  if not is_own or status.st_size > 32:
    return False
  return re.fullmatch(rb"\d*\n?", path.read_bytes()) is not None
