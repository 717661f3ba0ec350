"""One process at a time in a workdir."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator

from alcurr.core.errors import UserError

# Held by the system for as long as the process lives: a crash may leave the
# file behind, never the lock.
NAME = ".lock"


@contextlib.contextmanager
def locked(workdir: pathlib.Path, option: str = "--workdir") -> Iterator[None]:
  """Keeps other processes out of a workdir, or another folder.

  The folder is made if need be; one that is still empty in the end is removed
  again.

  Args:
    workdir: the folder.
    option: which chooses it, for the message.

  Raises:
    UserError: another process has it.
  """
  made = not workdir.exists()
  workdir.mkdir(parents=True, exist_ok=True)
  path = workdir / NAME
  file = _take(path, option)
  try:
    yield
  finally:
    with contextlib.suppress(FileNotFoundError):  # deleted under the run
      # Before it is given back: whoever opens it next makes one anew.
      if os.path.samestat(os.fstat(file), os.stat(path)):
        path.unlink()
    os.close(file)
    if made:
      with contextlib.suppress(OSError):  # not empty, or gone
        workdir.rmdir()


def _take(path: pathlib.Path, option: str) -> int:
  """The locked file's descriptor."""
  while True:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      if os.path.samestat(os.fstat(file), os.stat(path)):
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        return file
    except BlockingIOError:
      owner = os.read(file, 20).decode(errors="replace").strip()
      os.close(file)
      who = f"process {owner}" if owner else "another process"
      raise UserError(
        f"{path.parent} is in use by {who}; wait for its end, stop it, or "
        f"choose another {option}."
      ) from None
    except FileNotFoundError:
      pass
    # Its last owner removed it between our opening and our locking it.
    os.close(file)
