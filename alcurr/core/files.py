"""What a run leaves on disk: whole files, JSON and lines of JSON."""

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import math
import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from alcurr.core.errors import MachineError


def write_file(path: pathlib.Path, write: Callable[[Any], None]) -> None:
  """Writes a file under a temporary name, then renames it.

  A reader, or a run that was cut off, sees the whole file or none; so does
  one after the power failed.

  Args:
    path: where. Its folder is there: one that was deleted under a run is not
      made again behind the user's back.
    write: called with the open binary file.
  """
  temporary = path.with_name(f".{path.name}.{os.getpid()}")
  try:
    with naming(path), temporary.open("wb") as file:
      write(file)
      file.flush()
      os.fsync(file.fileno())
    rename(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def rename(temporary: pathlib.Path, path: pathlib.Path) -> None:
  """Puts a file or a folder in its place, also should the power fail now."""
  temporary.replace(path)
  folder = os.open(path.parent, os.O_RDONLY)
  try:
    os.fsync(folder)
  finally:
    os.close(folder)


def remove_temporary(folder: pathlib.Path) -> None:
  """Removes what `write_file` left at any depth when its process was killed.

  To be called where no other process writes.
  """
  for path in folder.rglob(".*"):
    if is_temporary(path.name) and path.is_file():
      path.unlink()


def is_temporary(name: str) -> bool:
  """Whether it is one that `write_file` writes under."""
  return re.fullmatch(r"\..+\.\d+", name) is not None


@contextlib.contextmanager
def naming(path: pathlib.Path) -> Iterator[None]:
  """Errors of the system name the file: those of a write do not by itself."""
  try:
    yield
  except OSError as error:
    if error.errno is not None and error.filename is None:
      error.filename = str(path)
    raise


def plain(value: Any) -> Any:
  """Arrays to lists, and numbers JSON has no word for to None."""
  if isinstance(value, dict):
    return {str(k): plain(v) for k, v in value.items()}
  if isinstance(value, list | tuple):
    return [plain(v) for v in value]
  if isinstance(value, np.ndarray | np.generic):
    return plain(value.tolist())
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def write_json(path: pathlib.Path, value: Any) -> None:
  text = json.dumps(plain(value), indent=2, allow_nan=False) + "\n"
  write_file(path, lambda file: file.write(text.encode()))


def read_json(path: pathlib.Path) -> Any:
  return json.loads(path.read_text(encoding="utf-8"))


class LogPosition(NamedTuple):
  """A place between two lines of a file, and what stands before it."""

  bytes: int
  blake2b: str  # of those bytes


def holds(path: pathlib.Path, mark: LogPosition) -> bool:
  """Whether a file begins with what a mark was taken of."""
  try:
    content = path.read_bytes()[: mark.bytes]
  except FileNotFoundError:
    content = b""
  return mark == LogPosition(len(content), hashlib.blake2b(content).hexdigest())


class Lines:
  """A file of JSON, a line a row, that is appended to; see `json_lines`."""

  def __init__(self, path: pathlib.Path, start: bytes):
    self._path = path
    self._hash = hashlib.blake2b(start)
    self._bytes = len(start)
    write_file(path, lambda file: file.write(start))
    self._file = path.open("ab")

  def write(self, row: dict[str, Any]) -> None:
    """Appends a row.

    Raises:
      MachineError: the file is no longer where it was.
    """
    line = (json.dumps(plain(row), allow_nan=False) + "\n").encode()
    with naming(self._path):
      self._check()
      self._file.write(line)
      self._file.flush()
    self._hash.update(line)
    self._bytes += len(line)

  def log_position(self) -> LogPosition:
    """What was written so far, which is on the disk from now on."""
    with naming(self._path):
      os.fsync(self._file.fileno())
    return LogPosition(self._bytes, self._hash.hexdigest())

  def close(self) -> None:
    self._file.close()

  def _check(self) -> None:
    """A file that was deleted can be written to, and no one would see it."""
    try:
      there = self._path.stat()
    except FileNotFoundError:
      there = None
    if not (there and os.path.samestat(there, os.fstat(self._file.fileno()))):
      raise MachineError(f"{self._path} was deleted or replaced under the run.")


@contextlib.contextmanager
def json_lines(
  path: pathlib.Path, mark: LogPosition | None = None
) -> Iterator[Lines]:
  """A file of rows: one made anew, or what stands before a mark of the last.

  Args:
    path: of the file, in a folder that is there.
    mark: one that the file `holds`; None to begin anew.
  """
  lines = Lines(path, path.read_bytes()[: mark.bytes] if mark else b"")
  with contextlib.closing(lines):
    yield lines


def read_record(path: pathlib.Path) -> dict[str, Any] | None:
  """A JSON object that a user may have edited; None where it is damaged."""
  try:
    record = read_json(path)
  # JSON nested deeper than Python's stack is none of ours either.
  except (ValueError, RecursionError):
    return None
  return record if isinstance(record, dict) else None


def environment() -> dict[str, str]:
  """What a figure depends on beside the config."""
  packages = ("alcurr", "jax", "jaxlib", "flax", "optax", "numpy")
  return {
    **{name: importlib.metadata.version(name) for name in packages},
    "python": sys.version.split()[0],
    "device": jax.devices()[0].device_kind,
    "date": datetime.date.today().isoformat(),
  }
