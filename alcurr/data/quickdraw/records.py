"""A drawing of a file, in any format of Google's or Kaggle's.

<class>.ndjson has a drawing on each line, simplified or raw, as has <class>.csv
(see `kaggle`). <class>.bin has simplified drawings in binary records, which are
little-endian: key_id u64, country code 2 bytes, recognized i8, timestamp u32,
number of strokes u16; then for each stroke the number of points u16, its x and
its y, a byte each.
"""

import codecs
import csv
import hashlib
import io
import json
import pathlib
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from alcurr.core import files
from alcurr.core.errors import UserError
from alcurr.data import strokes
from alcurr.data.quickdraw import simplification
from alcurr.data.strokes import BadDrawingError, Drawing, WrongFileError

# Most bytes of a record. The real raw drawings in the tests have up to 24
# thousand; a million points take more than this.
LONGEST = 2**22
# Raw drawings are longer than the default limit of the process.
csv.field_size_limit(max(csv.field_size_limit(), LONGEST))
_RECOGNIZED = {
  **dict.fromkeys(("true", "1", "1.0", ""), True),
  **dict.fromkeys(("false", "0", "0.0"), False),
}
# What a file's name has besides its class: the beginning of Google's names, and
# the end of a second download or of a copy.
_PREFIX = re.compile("^full_(simplified|raw|binary|numpy_bitmap)_")
_COPY = re.compile(r"( ?\((\d+|(another )?copy)\)| - Copy| copy( \d+)?)+$")
_HEAD = struct.Struct("<Q2sbIH")
_COUNT = struct.Struct("<H")


class Record(NamedTuple):
  """A drawing, and the other fields of its file."""

  drawing: Drawing
  key_id: str | None
  recognized: bool
  country: str  # its code; "" if the file does not say
  word: str = ""  # the class; "" likewise


def class_name(path: pathlib.Path) -> str:
  """Returns the class that a file's name says."""
  name = _COPY.sub("", _PREFIX.sub("", path.stem))
  return name.replace("%20", " ")


def plain_word(word: str) -> str:
  """Returns what is equal for two spellings of a class."""
  return " ".join(word.replace("_", " ").replace("%20", " ").casefold().split())


# Numbered items of a file, and the parser of an item, to be called at once,
# which raises BadDrawingError.
_Items = tuple[Iterator[tuple[int, bytes]], Callable[[bytes], Record]]


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
  """Yields numbered lines that are not blank, cut after LONGEST + 1 bytes.

  They are UTF-8, without a byte order mark; UTF-16 is known by its mark.
  """
  start, readline = file.peek(3), file.readline
  if start.startswith(codecs.BOM_UTF8):
    file.seek(len(codecs.BOM_UTF8))
  elif start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
    text = io.TextIOWrapper(file, "utf-16", newline="\n")
    readline = lambda size: text.readline(size).encode()  # noqa: E731
  number = 0
  while line := readline(LONGEST + 1):
    number += 1
    if line.strip():
      yield number, line
    while len(line) > LONGEST and not line.endswith(b"\n"):
      line = readline(LONGEST + 1)


def _parse_json(text: str | bytes) -> Any:
  """Decodes JSON, or raises BadDrawingError."""
  try:
    return json.loads(text)
  except (ValueError, RecursionError) as error:
    raise BadDrawingError("broken JSON") from error


def _from_row(row: dict[str, Any]) -> Record:
  """Builds a record of decoded fields; the drawing is simplified or raw."""
  layout = row["drawing"]
  first = layout[0] if isinstance(layout, list) and layout else None
  has_times = isinstance(first, list) and len(first) == 3
  parse = simplification.simplify if has_times else strokes.parse_simplified
  drawing = parse(layout)
  key, country = row.get("key_id"), row.get("countrycode")
  if not isinstance(key, str | int | float | None):
    raise BadDrawingError("key_id is neither text nor number")
  key = None if key in (None, "") else str(key)
  recognized = row.get("recognized")
  text = "" if recognized is None else str(recognized).strip().lower()
  if text not in _RECOGNIZED:
    raise BadDrawingError("recognized is neither True nor False")
  word = row.get("word")
  return Record(
    drawing,
    key,
    _RECOGNIZED[text],
    country if isinstance(country, str) else "",
    word if isinstance(word, str) else "",
  )


def _parse_ndjson(line: bytes) -> Record:
  row = _parse_json(line)
  if not isinstance(row, dict) or "drawing" not in row:
    raise BadDrawingError("not an object with a drawing")
  return _from_row(row)


def read_csv(file: BinaryIO, test: bool = False) -> _Items:
  """Reads a training or a test file of Kaggle's; see `read_file`."""
  needed = ("key_id", "drawing") if test else ("drawing", "word")
  lines = _lines(file)
  _, first = next(lines, (1, b""))
  columns = _csv_fields(first)
  if not {*needed} <= {*columns} or len({*columns}) < len(columns):
    got = ", ".join(columns)[:200] or "none"
    text = f"expected columns {' and '.join(needed)}, each once, got {got}"
    raise UserError("data", file.name, text)
  return lines, lambda line: _parse_csv(line, columns, test)


def _csv_fields(line: bytes) -> list[str]:
  """Splits a line, which is a row for any quotes; [] if it is broken."""
  try:
    return next(csv.reader([line.decode().rstrip("\r\n")], strict=True), [])
  except (UnicodeDecodeError, csv.Error):
    return []


def _parse_csv(line: bytes, columns: list[str], test: bool) -> Record:
  fields = _csv_fields(line)
  if not fields:
    raise BadDrawingError("broken CSV")
  if len(fields) != len(columns):
    raise BadDrawingError("not as many fields as columns")
  row = dict(zip(columns, fields, strict=True))
  row["drawing"] = _parse_json(row["drawing"])
  digits = re.fullmatch("[0-9]{1,20}", row.get("key_id", ""))
  if test and not (digits and int(row["key_id"]) < 2**64):
    raise BadDrawingError("key_id is not a whole number of 64 bits")
  return _from_row(row)


def _read_bin(file: BinaryIO) -> _Items:
  # Nothing marks a record's beginning, so reading ends at a record cut short.
  heads = iter(lambda: file.read(_HEAD.size), b"")
  return enumerate(heads, start=1), lambda head: _parse_bin(head, file)


def _parse_bin(head: bytes, file: BinaryIO) -> Record:
  """Reads to the end of a record, even if it is bad."""
  x, y, lengths, size = bytearray(), bytearray(), [], _HEAD.size
  try:
    key, country, recognized, _, num_strokes = _HEAD.unpack(head)
    for _ in range(num_strokes):
      length = _COUNT.unpack(file.read(_COUNT.size))[0]
      both = file.read(2 * length)
      if len(both) < 2 * length:
        raise BadDrawingError("a record cut short")
      size += _COUNT.size + len(both)
      if size <= LONGEST:
        lengths.append(length)
        x += both[:length]
        y += both[length:]
  except struct.error as error:
    raise BadDrawingError("a record cut short") from error
  if size > LONGEST:
    raise BadDrawingError(f"a record of more than {LONGEST} bytes")
  if not lengths:
    raise BadDrawingError("no strokes")
  if not all(lengths):
    raise BadDrawingError("a stroke without points")
  if recognized not in (0, 1):
    raise BadDrawingError("recognized is neither 0 nor 1")
  points = np.frombuffer(bytes(x + y), np.uint8).reshape(2, -1).T
  code = country.rstrip(b"\0").decode("latin-1")
  return Record(Drawing(points, lengths), str(key), bool(recognized), code)


# By a file's ending.
FORMATS: dict[str, Callable[[BinaryIO], _Items]] = {
  ".ndjson": lambda file: (_lines(file), _parse_ndjson),
  ".csv": read_csv,
  ".bin": _read_bin,
}


def read_file(
  path: pathlib.Path,
  skip: bool = False,
  remedy: str = "",
  read: Callable[[BinaryIO], _Items] | None = None,
) -> Iterator[Record | BadDrawingError]:
  """Yields the drawings of a file; with `skip`, the errors of bad ones too.

  Its format is by default that of its ending, and its class that of its name.

  Memory: 64 times the bytes of a line, 8 times those of a binary record, which
  are at most 4 MiB.

  Raises:
    UserError: a bad drawing unless `skip`, with the remedy, drawings of
      another class or form, or a file that cannot be read.
  """
  try:
    files.check_regular(path)
    with path.open("rb") as file:
      items, parse = (read or FORMATS[path.suffix.lower()])(file)
      for number, item in items:
        try:
          if len(item) > LONGEST:
            raise BadDrawingError(f"a line of more than {LONGEST} bytes")
          record = parse(item)
          if not read:
            _check_word(path, record.word)
        except BadDrawingError as error:
          is_wrong = isinstance(error, WrongFileError)
          if is_wrong or not skip:
            is_binary = path.suffix.lower() == ".bin"
            place = f"{path}{', record ' if is_binary else ':'}{number}"
            text = f"{error}{'' if is_wrong else remedy}"
            raise UserError("data", place, text) from error
          record = error
        yield record
  except OSError as error:
    text = f"cannot be read: {error.strerror}"
    raise UserError("missing", path, text) from error
  except UnicodeDecodeError as error:
    raise UserError("data", path, "broken UTF-16") from error


def _check_word(path: pathlib.Path, word: str) -> None:
  """Raises WrongFileError if a drawing is of another class than its file."""
  name = class_name(path)
  if word and word != name and plain_word(word) != plain_word(name):
    text = f"expected drawings of {name!r} as the file's name, got {word!r:.99}"
    raise WrongFileError(f"{text}; each class needs a file of its name")


def key_hash(record: Record) -> int:
  """Returns 64 bits of the drawing's key, or of its points without a key."""
  if record.key_id is not None:
    # JSON may escape half a surrogate pair, which UTF-8 cannot encode.
    content = record.key_id.encode(errors="surrogatepass")
  else:
    points, lengths = record.drawing
    content = points[:, :2].tobytes() + repr(lengths).encode()
  digest = hashlib.blake2b(content, digest_size=8).digest()
  return int.from_bytes(digest, "little")
