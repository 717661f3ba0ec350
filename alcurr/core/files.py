"""Files that runs write: complete files, JSON, and lines of JSON."""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from alcurr.core.errors import MachineError, UserError

_TEMPORARY = re.compile(r"\.(.+)\.\d+")
# What archivers, file managers and network drives put among data.
_TOOLS = (
  *("__MACOSX", "__pycache__", "Icon\r"),
  *("Thumbs.db", "ehthumbs.db", "desktop.ini"),
  *("$RECYCLE.BIN", "System Volume Information", "lost+found"),
  *("@eaDir", "@Recycle", "#recycle"),
)
# How a formula begins, in ASCII and in full width; quotes before it are ours or
# escaped once more.
_FORMULA = re.compile(r"'*(\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])")
_ESCAPED = re.compile("'" + _FORMULA.pattern)
_MAX_JSON = 2**28  # bytes; the largest of ours hold a few numbers per class


def check_regular(path: pathlib.Path, max_bytes: int | None = None) -> None:
  """Refuses to read what is not a file, or is larger than such a file can be.

  Call it before a file is opened that users may have put there. A FIFO or a
  device would hang the reader. A link to a regular file is allowed.

  Raises:
    UserError: a folder, FIFO, socket or device, or more than `max_bytes`.
    FileNotFoundError: nothing is there, or a broken link.
  """
  status = path.stat()
  if not stat.S_ISREG(status.st_mode):
    kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a FIFO or a device"
    raise UserError("data", path, f"expected a regular file, got {kind}")
  if max_bytes is not None and status.st_size > max_bytes:
    text = f"expected at most {max_bytes} bytes, got {status.st_size}"
    raise UserError("data", path, text)


def is_left_by_tools(name: str) -> bool:
  """Returns whether a file or folder is hidden, or an archiver's or a NAS's."""
  return name.startswith((".", "~$")) or name in _TOOLS


def write_file(path: pathlib.Path, write: Callable[[Any], None]) -> None:
  """Calls `write` with a binary file of a temporary name, then renames it.

  A reader sees the complete file or none, even after a power failure. A folder
  that the user deleted during a run is not created again. What a link points
  to is not touched.
  """
  temporary = path.with_name(f".{path.name}.{os.getpid()}")
  temporary.unlink(missing_ok=True)
  try:
    with naming(path), temporary.open("xb") as file:
      write(file)
      file.flush()
      os.fsync(file.fileno())
    rename(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def rename(temporary: pathlib.Path, path: pathlib.Path) -> None:
  """Renames a file, lastingly even after a power failure."""
  temporary.replace(path)
  folder = os.open(path.parent, os.O_RDONLY)
  try:
    os.fsync(folder)
  finally:
    os.close(folder)


def make_folder(folder: pathlib.Path) -> None:
  """Makes a folder, but not its parents; refuses one that is a link.

  What was written there would be elsewhere.
  """
  if folder.is_symlink():
    raise UserError("exists", folder, "expected a folder, got a link")
  folder.mkdir(exist_ok=True)


def walk(folder: pathlib.Path, names: Iterable[str]) -> Iterator[pathlib.Path]:
  """Yields what is at some names in a folder, and below, but not beyond links.

  Files that killed processes were writing are included. Another process may
  remove some meanwhile.
  """
  for path in folder.iterdir():
    temporary = _TEMPORARY.fullmatch(path.name)
    if (temporary[1] if temporary else path.name) in names:
      yield path
      below = () if path.is_symlink() else os.walk(path)
      for parent, folders, others in below:
        yield from (pathlib.Path(parent, name) for name in folders + others)


def remove_temporary(folder: pathlib.Path, names: Iterable[str]) -> None:
  """Removes files that killed processes were writing; see `walk`.

  No other process may be writing there.
  """
  for path in [*walk(folder, names)]:
    if is_temporary(path.name) and not path.is_dir():
      path.unlink()


def is_temporary(name: str) -> bool:
  """Returns whether `write_file` uses a name while it writes."""
  return _TEMPORARY.fullmatch(name) is not None


@contextlib.contextmanager
def naming(path: pathlib.Path) -> Iterator[None]:
  """Adds the file to the system's errors, which a failed write lacks."""
  try:
    yield
  except OSError as error:
    if error.errno is not None and error.filename is None:
      error.filename = str(path)
    raise


def plain(value: Any) -> Any:
  """Returns a value as JSON has it: arrays as lists, NaN and inf as None."""
  if isinstance(value, dict):
    return {str(k): plain(v) for k, v in value.items()}
  if isinstance(value, list | tuple):
    return [plain(v) for v in value]
  if isinstance(value, np.ndarray | np.generic):
    return plain(value.tolist())
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def escape_formula(value: Any) -> Any:
  """Returns a cell of a CSV file, a text of a formula with a leading quote.

  Spreadsheets take some texts for formulas, such as a class called "=1+1"; see
  OWASP, "CSV Injection".
  """
  is_formula = isinstance(value, str) and _FORMULA.match(value)
  return f"'{value}" if is_formula else value


def unescape_formula(value: Any) -> Any:
  """Inverts `escape_formula`."""
  is_escaped = isinstance(value, str) and _ESCAPED.match(value)
  return value[1:] if is_escaped else value


def write_json(path: pathlib.Path, value: Any) -> None:
  text = json.dumps(plain(value), indent=2, allow_nan=False) + "\n"
  write_file(path, lambda file: file.write(text.encode()))


def read_bytes(path: pathlib.Path) -> bytes:
  """Reads a file that `check_regular` admits."""
  check_regular(path)
  return path.read_bytes()


def read_json(path: pathlib.Path) -> Any:
  check_regular(path, _MAX_JSON)
  # As bytes, which may begin with the byte order mark of an editor.
  return json.loads(path.read_bytes())


def read_record(path: pathlib.Path) -> dict[str, Any] | None:
  """Returns a JSON object that users may edit; None if it is damaged."""
  try:
    record = read_json(path)
  # JSON may be nested deeper than Python's stack.
  except (ValueError, RecursionError):
    return None
  return record if isinstance(record, dict) else None


class LogPosition(NamedTuple):
  """A position between two lines of a file, with a hash of all before it."""

  bytes: int
  blake2b: str


def starts_with(path: pathlib.Path, position: LogPosition) -> bool:
  """Returns whether a file still has all that was before a position."""
  try:
    content = read_bytes(path)[: position.bytes]
  except FileNotFoundError:
    content = b""
  digest = hashlib.blake2b(content).hexdigest()
  return position == LogPosition(len(content), digest)


class Lines:
  """An open file of JSON rows, one per line; see `json_lines`."""

  def __init__(self, path: pathlib.Path, file: BinaryIO, start: bytes):
    self._path, self._file = path, file
    self._hash, self._bytes = hashlib.blake2b(start), len(start)

  def write(self, row: dict[str, Any]) -> None:
    """Appends a row; MachineError if the file was deleted or replaced."""
    line = (json.dumps(plain(row), allow_nan=False) + "\n").encode()
    with naming(self._path):
      self._check()
      self._file.write(line)
      self._file.flush()
    self._hash.update(line)
    self._bytes += len(line)

  def log_position(self) -> LogPosition:
    """Returns the current position; what precedes it is now on disk."""
    with naming(self._path):
      os.fsync(self._file.fileno())
    return LogPosition(self._bytes, self._hash.hexdigest())

  def _check(self) -> None:
    """Fails if the file was deleted: rows could be written, but not seen."""
    with contextlib.suppress(FileNotFoundError):
      if os.path.samestat(self._path.stat(), os.fstat(self._file.fileno())):
        return
    text = "deleted or replaced under the run"
    raise MachineError("damaged", str(self._path), text)


@contextlib.contextmanager
def json_lines(
  path: pathlib.Path, position: LogPosition | None = None
) -> Iterator[Lines]:
  """Opens a file of rows, empty or cut at a position that it `starts_with`."""
  start = read_bytes(path)[: position.bytes] if position else b""
  write_file(path, lambda file: file.write(start))
  with path.open("ab") as file:
    yield Lines(path, file, start)
