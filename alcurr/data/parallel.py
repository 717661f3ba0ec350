"""Work on many files, on all cores that this process may use."""

import concurrent.futures
import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from tqdm.auto import tqdm

from alcurr.core.errors import UserError

Result = TypeVar("Result")

# Bytes from which several processes pay: a worker needs seconds to start, and
# then reads about 15 MB a second.
_PARALLEL_BYTES = 100e6


def cores() -> int:
  """Returns the number of CPU cores that this process may run on."""
  if hasattr(os, "sched_getaffinity"):  # Linux
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def each_file(
  function: Callable[[pathlib.Path], Result],
  paths: list[pathlib.Path],
  description: str,
) -> list[Result]:
  """Returns a function's result for each file, in order, with a progress bar.

  Uses several processes where that pays, so the function can be pickled. They
  end with the calling process.

  Raises:
    UserError: a process died; or as `function` raises at the first bad file.
  """
  size = sum(path.stat().st_size for path in paths)
  workers = min(cores(), len(paths))
  progress = functools.partial(tqdm, unit=" classes", disable=None)
  if workers == 1 or size < _PARALLEL_BYTES:
    return list(progress(map(function, paths), description, len(paths)))
  spawn = multiprocessing.get_context("spawn")  # JAX's threads rule out fork
  try:
    with concurrent.futures.ProcessPoolExecutor(
      workers, spawn, _follow_parent
    ) as pool:
      with _no_interrupts():
        results = pool.map(function, paths)  # starts all processes
      return list(progress(results, description, len(paths)))
  except concurrent.futures.BrokenExecutor as error:
    text = "a process died: out of memory, or no `if __name__ == '__main__':`"
    raise UserError("memory", description, text) from error


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
  """Starts processes that Ctrl-C does not reach, even while they import.

  The parent reports it, once they are started.
  """
  if not hasattr(signal, "pthread_sigmask"):  # Windows
    yield
    return
  # It would unblock the signal when it is started with the first process.
  multiprocessing.resource_tracker.ensure_running()
  before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow_parent() -> None:
  """Ends a worker when its parent ends, even if that is killed."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it was not blocked
  parent = multiprocessing.parent_process().sentinel

  def wait() -> None:
    multiprocessing.connection.wait([parent])
    os._exit(1)

  threading.Thread(target=wait, daemon=True).start()
