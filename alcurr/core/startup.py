"""The start of a command: its standard streams, and errors of its imports.

The streams may be closed, full or not read, or lack a character.
"""

import io
import os
import sys
from types import TracebackType
from typing import TextIO

try:
  import resource
except ImportError:  # Windows
  resource = None

# The address space with which the smallest experiment runs on two cores.
_ADDRESS_SPACE = 1_900_000_000


class _Output(io.TextIOWrapper):
  """A standard stream that discards what nobody can read any more.

  A text that the encoding lacks is escaped.
  """

  def __init__(self, stream: TextIO):
    super().__init__(
      stream.buffer,
      stream.encoding,
      errors="backslashreplace",
      line_buffering=stream.line_buffering,
      write_through=stream.write_through,
    )
    self._stream = stream  # which closes the buffer when it is freed

  def write(self, text: str) -> int:
    try:
      return super().write(text)
    except OSError as error:
      self._discard(error)
      return len(text)

  def flush(self) -> None:
    try:
      super().flush()
    except OSError as error:
      self._discard(error)

  def _discard(self, error: OSError) -> None:
    """Discards all output from now on; raises if it was to be stored."""
    # Otherwise Python repeats the error when it exits.
    with open(os.devnull, "wb") as nowhere:
      os.dup2(nowhere.fileno(), self.fileno())
    # After `| head`, nothing is missing. Nothing can be said of stderr's.
    if self.fileno() == 1 and not isinstance(error, BrokenPipeError):
      error.filename = "standard output"
      raise error


def prepare() -> None:
  """Prepares the process of a command, before anything is opened.

  Ends it if its address space is too small for JAX.
  """
  sys.excepthook = report_uncaught
  for number, name in enumerate(("stdin", "stdout", "stderr")):
    try:
      os.fstat(number)
    except OSError:
      # A file that is opened later would get the number, and the output.
      os.open(os.devnull, os.O_RDWR)  # the lowest free number
    if getattr(sys, name) is None:
      stream = open(number, "w" if number else "r", closefd=False)  # noqa: SIM115
      setattr(sys, name, stream)
  sys.stdout, sys.stderr = _Output(sys.stdout), _Output(sys.stderr)
  if resource:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if 0 <= limit < _ADDRESS_SPACE:  # JAX would abort in the midst of a run
      text = f"expected {_ADDRESS_SPACE:,} bytes or no limit, got {limit:,}"
      print(f"alcurr: ulimit -v: {text}", file=sys.stderr)
      sys.exit(2)


def report_uncaught(
  kind: type[BaseException],
  error: BaseException,
  traceback: TracebackType | None,
) -> None:
  """Reports in one line what the machine denies to imports; a `sys.excepthook`.

  Matplotlib, for one, needs a folder that it can write to.
  """
  if issubclass(kind, OSError | MemoryError):
    text = " ".join(f"{kind.__name__}: {error}".split())
    print(f"alcurr: {text}", file=sys.stderr)
  else:
    sys.__excepthook__(kind, error, traceback)
