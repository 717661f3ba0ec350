"""Handles SIGTERM and SIGINT: training saves a checkpoint, the rest just quits.

Python delivers a signal to its main thread, which may be in a compiler for
minutes. So a thread listens for signals: see `signal.set_wakeup_fd`.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_STDERR = 2
# Signals within so many seconds count as one: `timeout`, like others, sends one
# to the process and another to its group.
_ONE = 1.0


class Stopped(Exception):  # noqa: N818
  """Stopped by a signal, after saving; not an error.

  Attributes:
    status: to exit with, 128 + the signal's number.
  """

  def __init__(self, number: int):
    name = signal.Signals(number).name
    super().__init__(f"stopped by {name}; rerun the same command to resume.")
    self.status = 128 + number


class Signals:
  """Receives the signals within `watched`."""

  def __init__(self):
    self._lock = threading.Lock()
    self._is_held = False
    self._received: int | None = None  # the signal that came while held
    self._received_at = 0.0

  @contextlib.contextmanager
  def watched(self) -> Iterator[None]:
    """Handles the signals inside; for the main thread only."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # as `set_wakeup_fd` requires
    thread = threading.Thread(target=self._listen, args=(reader,), daemon=True)
    thread.start()
    previous_fd = signal.set_wakeup_fd(writer)
    # Ignored signals and those without a Python handler reach no wakeup fd.
    previous = {n: signal.signal(n, lambda *_: None) for n in SIGNALS}
    try:
      yield
    finally:
      for number, handler in previous.items():
        signal.signal(number, handler)
      signal.set_wakeup_fd(previous_fd)
      os.close(writer)  # which ends the thread
      thread.join()
      os.close(reader)

  @contextlib.contextmanager
  def held(self) -> Iterator[Callable[[], int | None]]:
    """Delays the first signal; another, a second later or more, quits at once.

    Yields:
      A function that returns the signal that was received, if any.

    Raises:
      Stopped: at the end, if one was.
    """
    with self._lock:
      self._is_held = True
    try:
      yield lambda: self._received
    finally:
      with self._lock:
        self._is_held = False
    if self._received is not None:
      raise Stopped(self._received)

  def _listen(self, reader: int) -> None:
    while numbers := os.read(reader, 64):
      for number in numbers:
        if number in SIGNALS:
          self._receive(number)

  def _receive(self, number: int) -> None:
    with self._lock:
      now = time.monotonic()
      if self._is_held and self._received is None:
        self._received, self._received_at = number, now
        # Not at the start of a process, which is to be watched soon.
        from absl import logging

        logging.info(
          "%s: stopping after this chunk, with a checkpoint; send it again to "
          "quit immediately.",
          signal.Signals(number).name,
        )
        return
      if self._received is not None and now - self._received_at < _ONE:
        return
    if "multiprocessing" in sys.modules:
      for child in sys.modules["multiprocessing"].active_children():
        child.terminate()
    stopped = Stopped(number)
    with contextlib.suppress(OSError):  # nobody reads it
      # Not through buffers, whose locks the main thread may hold.
      os.write(_STDERR, f"\nalcurr: {stopped}\n".encode())
    os._exit(stopped.status)


def watch_process() -> None:
  """Handles the signals until the process ends, in any part of a command.

  A part that can be stopped with a checkpoint has its own `Signals.watched`.
  """
  # While Python exits, when no thread runs, a signal just ends the process.
  signal.signal(signal.SIGINT, signal.SIG_DFL)
  stack = contextlib.ExitStack()
  stack.enter_context(Signals().watched())
  atexit.register(stack.close)
