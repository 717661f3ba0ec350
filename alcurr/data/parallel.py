"""One function over many files, on every core that this process may use."""

import concurrent.futures
import functools
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from tqdm.auto import tqdm

from alcurr.core import cpu
from alcurr.core.errors import UserError

Result = TypeVar("Result")

# A process that can read starts in seconds (it imports what this one does)
# and reads about 15 MB a second: with less than this, one is done sooner.
_PARALLEL_BYTES = 100e6


def each_file(
  function: Callable[[pathlib.Path], Result],
  paths: list[pathlib.Path],
  what: str,
) -> list[Result]:
  """What a function makes of each file, in their order, under a progress bar.

  Several processes where that pays; they end when this one does, however.

  Args:
    function: that can be sent to another process.
    paths: of files that are there.
    what: is done to them, for the bar.

  Raises:
    UserError: a process died; and what `function` raises, at the first file.
  """
  size = sum(path.stat().st_size for path in paths)
  workers = min(cpu.cores(), len(paths))
  progress = functools.partial(
    tqdm,
    total=len(paths),
    desc=what,
    unit=" classes",
    disable=not sys.stderr.isatty(),
  )
  if workers == 1 or size < _PARALLEL_BYTES:
    return list(progress(map(function, paths)))
  try:
    with concurrent.futures.ProcessPoolExecutor(
      # Not fork: the threads of JAX do not survive it.
      workers,
      mp_context=multiprocessing.get_context("spawn"),
      initializer=_follow_parent,
    ) as pool:
      return list(progress(pool.map(function, paths)))
  except concurrent.futures.BrokenExecutor as error:
    raise UserError(
      "A process that reads files died: memory ran out, or a script calls "
      'this outside `if __name__ == "__main__":`.'
    ) from error


def _follow_parent() -> None:
  """This process ends with the one that started it, killed or not."""
  # Ctrl-C reaches both, and the parent is the one that tells of it.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  parent = multiprocessing.parent_process().sentinel

  def wait() -> None:
    multiprocessing.connection.wait([parent])
    os._exit(1)

  threading.Thread(target=wait, daemon=True).start()
