"""Opens files of drawings, and splits text into lines or JSON values."""

import codecs
import contextlib
import gzip
import io
import itertools
import json
import pathlib
import re
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from alcurr.core import files
from alcurr.core.errors import UserError

# Most bytes of a record. The real raw drawings in the tests have up to 24
# thousand; a million points take more than this.
LONGEST = 2**22
MAX_BYTES = 2**31
_CHUNK = 2**16  # characters of a document that are decoded at once
_COMPRESSED = (".gz", ".bz2", ".xz", ".zip", ".zst")
# What may stand between the values of a document.
_BETWEEN = re.compile(r"[\s,\]]*")

Numbered = Iterator[tuple[int, bytes]]


def ending(path: pathlib.Path) -> str:
  """Returns the ending that says a file's format, without that of gzip."""
  parts = [suffix.lower() for suffix in path.suffixes[-2:]]
  if parts[-1:] == [".gz"]:
    parts.pop()
  elif parts and parts[-1] in _COMPRESSED:
    return "".join(parts)
  return parts[-1] if parts else ""


class _Unpacked(io.RawIOBase):
  """A file of gzip, up to a number of bytes."""

  def __init__(self, path: pathlib.Path, file: BinaryIO, max_bytes: int):
    self.name, self._file = str(path), gzip.GzipFile(fileobj=file)
    self._max_bytes = self._left = max_bytes

  def readable(self) -> bool:
    return True

  def readinto(self, buffer: Any) -> int:
    try:
      content = self._file.read(len(buffer))
    except (OSError, EOFError, zlib.error) as error:
      text = f"not a complete file of gzip ({error})"
      raise UserError("damaged", self.name, text) from error
    self._left -= len(content)
    if self._left < 0:
      text = f"expected at most {self._max_bytes} bytes, or a larger max_bytes"
      raise UserError("data", self.name, text)
    buffer[: len(content)] = content
    return len(content)


@contextlib.contextmanager
def open_file(path: pathlib.Path, max_bytes: int) -> Iterator[BinaryIO]:
  """Opens a regular file; one of gzip up to `max_bytes` of its content.

  Raises:
    UserError: not a regular file; later, if it is damaged or larger.
  """
  files.check_regular(path)
  with path.open("rb") as file:
    if path.suffix.lower() == ".gz":
      file = io.BufferedReader(_Unpacked(path, file, max_bytes), 2**16)
    yield file


def _pieces(file: BinaryIO) -> Numbered:
  """Yields lines as UTF-8, without a byte order mark, with their numbers.

  A longer line than LONGEST is yielded in pieces. UTF-16 is known by its mark.
  """
  start, readline = file.peek(3), file.readline
  if start.startswith(codecs.BOM_UTF8):
    file.read(len(codecs.BOM_UTF8))
  elif start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
    text = io.TextIOWrapper(file, "utf-16", newline="\n")
    readline = lambda size: text.readline(size).encode()  # noqa: E731
  number = 1
  while piece := readline(LONGEST + 1):
    yield number, piece
    number += piece.endswith(b"\n")


def lines(file: BinaryIO) -> Numbered:
  """Yields numbered lines that are not blank, cut after LONGEST + 1 bytes."""
  return _whole(_pieces(file))


def _whole(pieces: Numbered) -> Numbered:
  last = 0
  for number, piece in pieces:
    if number > last and (piece.strip() or len(piece) > LONGEST):
      yield number, piece
    last = number


def json_values(file: BinaryIO) -> Numbered:
  """Yields JSON values that are not decoded, with the lines they begin at.

  There is one on each line, or the file is an array of them, or they are
  printed over several lines.
  """
  pieces = _pieces(file)
  number, first = next((item for item in pieces if item[1].strip()), (1, b""))
  if first.strip() == b"{" or first.lstrip().startswith(b"["):
    rest = (piece for _, piece in pieces)
    return _document(file.name, number, itertools.chain([first], rest))
  return _whole(itertools.chain([(number, first)], pieces))


def _document(place: str, line: int, pieces: Iterator[bytes]) -> Numbered:
  """Yields the values of an array, or of a sequence of printed values.

  Raises:
    UserError: broken JSON, after which no value's beginning is known.
  """
  decode = codecs.getincrementaldecoder("utf-8")().decode
  find_end = json.JSONDecoder().raw_decode
  text, needed, is_open = "", _CHUNK, None
  for piece in itertools.chain(pieces, [b""]):
    text += decode(piece, final=not piece)
    if piece and len(text) < needed:
      continue
    end = 0
    while True:
      between = _BETWEEN.match(text, end)
      start, end = end, between.end()
      line += text.count("\n", start, end)
      if is_open is None and text.startswith("[", end):
        is_open, end = True, end + 1
        continue
      is_open = bool(is_open) and "]" not in between[0]
      if end == len(text) and (piece or not is_open):
        break
      try:
        start, (_, end) = end, find_end(text, end)
      except (ValueError, RecursionError) as error:
        is_cut = piece and isinstance(error, ValueError)
        if is_cut and len(text) - end <= LONGEST:
          break
        text = f"broken JSON, or a value of more than {LONGEST} bytes"
        raise UserError("data", f"{place}:{line}", text) from error
      yield line, text[start:end].encode()
      line += text.count("\n", start, end)
    text = text[end:]
    needed = max(_CHUNK, 2 * len(text))
