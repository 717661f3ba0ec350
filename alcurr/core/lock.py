"""One process at a time in a folder."""

import contextlib
import os
import pathlib
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
    UserError: about the command line's `option`, if another has locked it.
  """
  is_new = not folder.exists()
  folder.mkdir(parents=True, exist_ok=True)
  path, owner = folder / NAME, f"{os.getpid()}\n"
  lock = filelock.FileLock(path)
  try:
    lock.acquire(blocking=False)
  except filelock.Timeout:
    owner = "another process"
    with contextlib.suppress(OSError, ValueError):
      owner = f"process {int(path.read_text())}"
    text = f"{folder} is in use by {owner}; wait, or stop it"
    raise UserError("in_use", option, text) from None
  path.write_text(owner)
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
