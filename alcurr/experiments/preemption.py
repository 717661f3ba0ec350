"""SIGTERM and SIGINT: who trains is asked to stop, all else quits at once.

Python hands a signal to its main thread, which may sit in a compiler for
minutes. So a thread of its own learns of it, at once: see
`signal.set_wakeup_fd`.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator

from absl import logging

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_END = 0  # no signal's number


class Stopped(Exception):  # noqa: N818
  """Asked to stop by a signal, and all that has to be kept is on disk.

  Nothing went wrong: it is no error.

  Attributes:
    status: the one to exit with, 128 + the signal's number.
  """

  def __init__(self, number: int):
    super().__init__(_sentence(number))
    self.status = 128 + number


def _sentence(number: int) -> str:
  name = signal.Signals(number).name
  return f"stopped by {name}; run the same command again to go on."


class Signals:
  """What came of the signals, within `watched`."""

  def __init__(self):
    self._lock = threading.Lock()
    self._holding = False
    self._asked: int | None = None  # the signal that came while holding

  @contextlib.contextmanager
  def watched(self) -> Iterator[None]:
    """Takes the signals over; to be entered from the main thread."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # as `set_wakeup_fd` wants it
    thread = threading.Thread(target=self._listen, args=(reader,), daemon=True)
    thread.start()
    before_fd = signal.set_wakeup_fd(writer)
    # What is ignored or not handled by Python reaches no wakeup fd.
    before = {n: signal.signal(n, lambda *_: None) for n in SIGNALS}
    try:
      yield
    finally:
      for number, handler in before.items():
        signal.signal(number, handler)
      signal.set_wakeup_fd(before_fd)
      os.write(writer, bytes([_END]))
      thread.join()
      os.close(reader)
      os.close(writer)

  @contextlib.contextmanager
  def held(self) -> Iterator[Callable[[], bool]]:
    """Inside, a signal only asks to stop, and a second one quits at once.

    Yields:
      Whether a signal came.

    Raises:
      Stopped: at the end, if one did.
    """
    with self._lock:
      self._holding = True
    try:
      yield lambda: self._asked is not None
    finally:
      with self._lock:
        self._holding = False
    if self._asked is not None:
      raise Stopped(self._asked)

  def _listen(self, reader: int) -> None:
    while True:
      for number in os.read(reader, 64):
        if number == _END:
          return
        if number in SIGNALS:
          self._take(number)

  def _take(self, number: int) -> None:
    with self._lock:
      if self._holding and self._asked is None:
        self._asked = number
        logging.info(
          "%s: stopping after this chunk, with a checkpoint; the same signal "
          "again quits at once.",
          signal.Signals(number).name,
        )
        return
    for child in multiprocessing.active_children():
      child.terminate()
    # Past all buffers, whose locks the main thread may hold.
    text = f"\nalcurr: {_sentence(number)}\n"
    os.write(sys.__stderr__.fileno(), text.encode())
    os._exit(128 + number)
