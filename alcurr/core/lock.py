"""One process at a time in a folder, or in a run of an experiment's folder."""

import contextlib
import os
import pathlib
import re
import stat
from collections.abc import Iterator

import filelock
from absl import logging

from alcurr.core.errors import UserError

# A crash may leave this file, but never the lock: the system releases it.
NAME = ".lock"
_POLL = 0.1  # seconds between two tries to get a lock


@contextlib.contextmanager
def locked(
  folder: pathlib.Path,
  option: str = "--workdir",
  run: str = "",
  wait: bool = False,
) -> Iterator[None]:
  """Excludes other processes from a folder, which is created if missing.

  A folder that was created here and is still empty at the end is removed.

  Args:
    folder: to lock.
    option: of the command line, for messages.
    run: of an experiment, which alone is locked; "": what its runs share.
    wait: for a process that has locked it, rather than raise an error.

  Raises:
    UserError: about the `option`, if another process has locked it, or the
      place of the lock is taken.
  """
  is_new = not folder.exists()
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / (f"{NAME}-{run}" if run else NAME)
  owner = f"{os.getpid()}\n"
  if not _is_lock(path):
    text = f"{path} is not a lock of alcurr; remove it"
    raise UserError("exists", option, text)
  lock = filelock.FileLock(path)
  if not _acquire(lock, path):
    other = "another process"
    with contextlib.suppress(OSError, ValueError):
      other = f"process {int(path.read_text())}"
    what = f"the run {run} of {folder}" if run else f"{folder}"
    if not wait:
      text = f"{what} is in use by {other}; wait, or stop it"
      raise UserError("in_use", option, text)
    logging.info("Waiting for %s, which uses %s.", other, what)
    while not _acquire(lock, path, timeout=-1):
      pass  # the file that was waited for is not the one there now
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


def _acquire(
  lock: filelock.FileLock, path: pathlib.Path, timeout: float = 0
) -> bool:
  """Returns whether the file at a path was locked; waits for it if below 0.

  A file that its owner removed meanwhile may be locked too, but excludes
  nobody.
  """
  # Open, so that no new file can be taken for this one.
  file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW)
  try:
    lock.acquire(timeout=timeout, poll_interval=_POLL)
    with contextlib.suppress(FileNotFoundError):
      if os.path.samestat(path.lstat(), os.fstat(file)):
        return True
    lock.release()
    return False
  except filelock.Timeout:
    return False
  finally:
    os.close(file)


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
