"""A drawing of a file, in any format of Google's or Kaggle's.

<class>.ndjson has a drawing on each line, simplified or raw, as has <class>.csv
(see `kaggle`); <class>.json may be an array of them. <class>.bin has simplified
drawings in binary records, which are little-endian: key_id u64, country code 2
bytes, recognized i8, timestamp u32, number of strokes u16; then for each stroke
the number of points u16, its x and its y, a byte each.
"""

import contextlib
import csv
import hashlib
import json
import pathlib
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from alcurr.core.errors import UserError
from alcurr.data.quickdraw import items, stroke_forms
from alcurr.data.strokes import BadDrawingError, Drawing, WrongFileError

# Raw drawings are longer than the default limit of the process.
csv.field_size_limit(max(csv.field_size_limit(), items.LONGEST))
_RECOGNIZED = {
  **dict.fromkeys(("true", "1", "1.0", ""), True),
  **dict.fromkeys(("false", "0", "0.0"), False),
}
# What a file's name has besides its class: the beginning of Google's names, and
# the end of a second download or of a copy.
_PREFIX = re.compile("^full_(simplified|raw|binary|numpy_bitmap)_")
_COPY = re.compile(r"( ?\((\d+|(another )?copy)\)| - Copy| copy( \d+)?)+$")
_DELIMITERS = (",", ";", "\t")
_HEAD = struct.Struct("<Q2sbIH")
_COUNT = struct.Struct("<H")


class Record(NamedTuple):
  """A drawing, and the other fields of its file."""

  drawing: Drawing
  key_id: str | None
  recognized: bool
  country: str  # its code; "" if the file does not say
  word: str = ""  # the class; "" likewise
  line: int = 0  # of its file, where it begins; or of a .bin, its record


def class_name(path: pathlib.Path) -> str:
  """Returns the class that a file's name says."""
  if path.suffix.lower() == ".gz":
    path = path.with_suffix("")
  name = _COPY.sub("", _PREFIX.sub("", path.stem))
  return name.replace("%20", " ")


def plain_word(word: str) -> str:
  """Returns what is equal for two spellings of a class."""
  return " ".join(word.replace("_", " ").replace("%20", " ").casefold().split())


# Numbered items of a file, and the decoder of an item, to be called at once. It
# raises BadDrawingError, and returns fields or a record.
_Items = tuple[items.Numbered, Callable[[bytes], dict[str, Any] | Record]]


def _parse_json(text: str | bytes) -> Any:
  """Decodes JSON, or a text in JSON that is JSON itself."""
  try:
    value = json.loads(text)
    return json.loads(value) if isinstance(value, str) else value
  except (ValueError, RecursionError) as error:
    raise BadDrawingError("broken JSON") from error


def _from_row(row: dict[str, Any], form: str) -> Record:
  """Builds a record of decoded fields."""
  drawing = stroke_forms.parse(row["drawing"], form)
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


def _decode_json(text: bytes) -> dict[str, Any]:
  row = _parse_json(text)
  if not isinstance(row, dict) or "drawing" not in row:
    raise BadDrawingError("not an object with a drawing")
  drawing = row["drawing"]
  is_text = isinstance(drawing, str)
  return row | {"drawing": _parse_json(drawing) if is_text else drawing}


def read_csv(file: BinaryIO, test: bool = False) -> _Items:
  """Reads a training or a test file of Kaggle's; see `read_file`."""
  needed = ("key_id", "drawing") if test else ("drawing", "word")
  lines = items.lines(file)
  _, first = next(lines, (1, b""))
  found = {mark: _csv_fields(first, mark) for mark in _DELIMITERS}
  # Most of the needed columns; the comma where none has any.
  mark = max(found, key=lambda mark: len({*needed} & {*found[mark]}))
  columns = found[mark]
  if not {*needed} <= {*columns} or len({*columns}) < len(columns):
    got = ", ".join(columns)[:200] or "none"
    text = f"expected columns {' and '.join(needed)}, each once, got {got}"
    raise UserError("data", file.name, text)
  return lines, lambda line: _decode_csv(line, mark, columns, test)


def _csv_fields(line: bytes, delimiter: str) -> list[str]:
  """Splits a line, which is a row for any quotes; [] if it is broken."""
  try:
    text = line.decode().rstrip("\r\n")
    return next(csv.reader([text], delimiter=delimiter, strict=True), [])
  except (UnicodeDecodeError, csv.Error):
    return []


def _decode_csv(
  line: bytes, delimiter: str, columns: list[str], test: bool
) -> dict[str, Any]:
  fields = _csv_fields(line, delimiter)
  if not fields:
    raise BadDrawingError("broken CSV")
  if len(fields) != len(columns):
    raise BadDrawingError("not as many fields as columns")
  row = dict(zip(columns, fields, strict=True))
  row["drawing"] = _parse_json(row["drawing"])
  digits = re.fullmatch("[0-9]{1,20}", row.get("key_id", ""))
  if test and not (digits and int(row["key_id"]) < 2**64):
    raise BadDrawingError("key_id is not a whole number of 64 bits")
  return row


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
      if size <= items.LONGEST:
        lengths.append(length)
        x += both[:length]
        y += both[length:]
  except struct.error as error:
    raise BadDrawingError("a record cut short") from error
  if size > items.LONGEST:
    raise BadDrawingError(f"a record of more than {items.LONGEST} bytes")
  if not lengths:
    raise BadDrawingError("no strokes")
  if not all(lengths):
    raise BadDrawingError("a stroke without points")
  if recognized not in (0, 1):
    raise BadDrawingError("recognized is neither 0 nor 1")
  points = np.frombuffer(bytes(x + y), np.uint8).reshape(2, -1).T
  code = country.rstrip(b"\0").decode("latin-1")
  return Record(Drawing(points, lengths), str(key), bool(recognized), code)


def _read_json(file: BinaryIO) -> _Items:
  return items.json_values(file), _decode_json


# By a file's ending, without that of gzip.
FORMATS: dict[str, Callable[[BinaryIO], _Items]] = {
  ".ndjson": _read_json,
  ".jsonl": _read_json,
  ".json": _read_json,
  ".csv": read_csv,
  ".bin": _read_bin,
}


class Options(NamedTuple):
  """How the files of drawings are read; see `reader.load`."""

  on_error: str = "raise"
  stroke_form: str = ""
  max_bytes: int = items.MAX_BYTES


def read_file(
  path: pathlib.Path,
  options: Options = Options(),  # noqa: B008 - immutable
  read: Callable[[BinaryIO], _Items] | None = None,
  one_word: bool = True,
) -> Iterator[Record | BadDrawingError]:
  """Yields the drawings of a file; the errors of skipped ones too.

  Its format is by default that of its ending. With `one_word`, its class is
  that of its name, and another word is refused.

  Memory: 64 times the bytes of a line, 8 times those of a binary record, which
  are at most 4 MiB.

  Raises:
    UserError: a bad drawing unless it is skipped, strokes whose form nothing
      decides, or a file that cannot be read.
  """
  kind = items.ending(path)
  read, skip = read or FORMATS[kind], options.on_error == "skip"
  remedy = "; fix it, or set data.on_error=skip" * (read in FORMATS.values())
  try:
    form = options.stroke_form
    if not form and kind != ".bin":
      with items.open_file(path, options.max_bytes) as file:
        form = stroke_forms.decide(_drawings(*read(file)), path)
    with items.open_file(path, options.max_bytes) as file:
      numbered, decode = read(file)
      for number, item in numbered:
        try:
          record = _parse(item, decode, form)
          if one_word:
            _check_word(path, record.word)
        except BadDrawingError as error:
          if (is_wrong := isinstance(error, WrongFileError)) or not skip:
            place = f"{path}{', record ' if kind == '.bin' else ':'}{number}"
            text = f"{error}{'' if is_wrong else remedy}"
            raise UserError("data", place, text) from error
          yield error
        else:
          yield record._replace(line=number)
  except OSError as error:
    text = f"cannot be read: {error.strerror}"
    raise UserError("missing", path, text) from error
  except UnicodeDecodeError as error:
    text = f"broken {error.encoding.upper()}"
    raise UserError("data", path, text) from error


def _parse(
  item: bytes, decode: Callable[[bytes], dict[str, Any] | Record], form: str
) -> Record:
  if len(item) > items.LONGEST:
    raise BadDrawingError(f"a line of more than {items.LONGEST} bytes")
  row = decode(item)
  return row if isinstance(row, Record) else _from_row(row, form)


def _drawings(
  numbered: items.Numbered, decode: Callable[[bytes], dict[str, Any]]
) -> Iterator[Any]:
  """Yields decoded drawings; None for bad ones."""
  for _, item in numbered:
    drawing = None
    if len(item) <= items.LONGEST:
      with contextlib.suppress(BadDrawingError):
        drawing = decode(item)["drawing"]
    yield drawing


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
