"""The CSV files of Kaggle's Quick, Draw! Doodle Recognition Challenge.

train_simplified/<word>.csv and train_raw/<word>.csv have the columns
countrycode, drawing, key_id, recognized, timestamp and word; the test files
lack the last three. `drawing` is JSON, and each row is one line.

Kaggle used 340 of Google's 345 classes; they are read from the user's folder.
"""

import csv
import functools
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from alcurr.core.errors import UserError
from alcurr.data import strokes
from alcurr.data.quickdraw import records
from alcurr.data.quickdraw.records import Record
from alcurr.data.strokes import BadDrawingError
from alcurr.types import Strokes

# Raw drawings are longer than the default limit of the process.
csv.field_size_limit(max(csv.field_size_limit(), records.LONGEST))
_RECOGNIZED = {"true": True, "false": False, "": True}


def read(file: BinaryIO) -> records.Rows:
  """Yields line numbers and parsers of drawings of a training file.

  Memory: 64 times the line's bytes, which are at most 4 MiB.

  Raises:
    UserError: the first line does not name the columns.
  """
  rows, columns = _open(file, ("drawing", "word"))
  for number, line in rows:
    yield number, functools.partial(_parse, line, columns)


def read_test(path: str | pathlib.Path) -> tuple[Strokes, np.ndarray]:
  """Reads test_simplified.csv or test_raw.csv in its own order.

  Memory: 2 bytes a point, 4 a stroke and 12 a drawing, three times, and that of
  `read`.

  Returns:
    The n drawings, and their `key_id` for a submission: [n] uint64. It is not
    the hash in `Dataset.key`.

  Raises:
    UserError: no such file, another format, or a bad row.
  """
  path, keys = pathlib.Path(path), []

  def drawings(file: BinaryIO) -> Iterator[strokes.Drawing]:
    rows, columns = _open(file, ("key_id", "drawing"))
    for number, line in rows:
      try:
        record = _parse(line, columns)
        keys.append(_integer(record.key_id))
      except BadDrawingError as error:
        raise UserError("data", f"{path}:{number}", str(error)) from error
      yield record.drawing

  try:
    with path.open("rb") as file:
      source = strokes.pack(drawings(file))
  except OSError as error:
    text = f"cannot be read: {error.strerror}"
    raise UserError("missing", path, text) from error
  if not keys:
    raise UserError("data", path, "it holds no drawing")
  return source, np.array(keys, np.uint64)


def _open(
  file: BinaryIO, needed: tuple[str, ...]
) -> tuple[Iterator[tuple[int, bytes]], list[str]]:
  """Returns the numbered rows that are not blank, and the columns."""
  lines = enumerate(records.lines(file), start=1)
  _, first = next(lines, (1, b""))
  try:
    records.check_length(first)
    columns = _fields(first.removeprefix(b"\xef\xbb\xbf"))
  except BadDrawingError:
    columns = []
  if not {*needed} <= {*columns} or len({*columns}) < len(columns):
    got = ", ".join(columns)[:200] or "none"
    text = f"expected columns {' and '.join(needed)}, each once, got {got}"
    raise UserError("data", file.name, text)
  return (pair for pair in lines if pair[1].strip()), columns


def _fields(line: bytes) -> list[str]:
  """Splits a line, which is a row for any quotes."""
  try:
    return next(csv.reader([line.decode().rstrip("\r\n")], strict=True), [])
  except (UnicodeDecodeError, csv.Error) as error:
    raise BadDrawingError("broken CSV") from error


def _parse(line: bytes, columns: list[str]) -> Record:
  records.check_length(line)
  fields = _fields(line)
  if len(fields) != len(columns):
    raise BadDrawingError("not as many fields as columns")
  row = dict(zip(columns, fields, strict=True))
  decoded = records.parse_json(row["drawing"])
  recognized = _RECOGNIZED.get(row.get("recognized", "").lower())
  if recognized is None:
    raise BadDrawingError("recognized is neither True nor False")
  drawing = records.parse_drawing(decoded)
  country = row.get("countrycode", "")
  return Record(drawing, row.get("key_id") or None, recognized, country)


def _integer(key_id: str | None) -> int:
  """Parses a key of Kaggle's: digits, at most 64 bits."""
  if key_id is None or not (key_id.isascii() and key_id.isdecimal()):
    raise BadDrawingError("key_id is not a whole number")
  if len(key_id) > 20 or (key := int(key_id)) >= 2**64:
    raise BadDrawingError("key_id does not fit 64 bits")
  return key
