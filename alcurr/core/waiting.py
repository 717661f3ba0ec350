"""Says what a long silent part of a command does, and that it still does it."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from absl import logging


@contextlib.contextmanager
def announced(
  text: str, every: float = 10.0, total: int = 0
) -> Iterator[Callable[[], None]]:
  """Logs what the block does, how long it has taken so far, and took.

  Args:
    text: what the block does, as "compiling 3 programs".
    every: seconds between two lines.
    total: the parts of the work; 0: it is one.

  Yields:
    A function to call when another part is done.
  """
  started, finished = time.perf_counter(), threading.Event()
  done: list[None] = []

  def report() -> None:
    while not finished.wait(every):
      parts = f"{len(done)} of {total} done, " if total else ""
      seconds = time.perf_counter() - started
      logging.info("%s: %s%.0f s so far.", text, parts, seconds)

  logging.info("%s ...", text)
  thread = threading.Thread(target=report, daemon=True)
  thread.start()
  try:
    yield lambda: done.append(None)
  finally:
    finished.set()
    thread.join()
  logging.info("%s: took %.1f s.", text, time.perf_counter() - started)
