"""Says what a long silent part of a command does, and that it still does it."""

import contextlib
import threading
import time
from collections.abc import Iterator

from absl import logging


@contextlib.contextmanager
def announced(text: str, every: float = 10.0) -> Iterator[None]:
  """Logs what the block does, how long it has taken so far, and took.

  Args:
    text: what the block does, as "compiling 3 programs".
    every: seconds between two lines.
  """
  started, finished = time.perf_counter(), threading.Event()

  def report() -> None:
    while not finished.wait(every):
      logging.info("%s: %.0f s so far.", text, time.perf_counter() - started)

  logging.info("%s ...", text)
  thread = threading.Thread(target=report, daemon=True)
  thread.start()
  try:
    yield
  finally:
    finished.set()
    thread.join()
  logging.info("%s: took %.1f s.", text, time.perf_counter() - started)
