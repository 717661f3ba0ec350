"""The CSV files of Kaggle's Quick, Draw! Doodle Recognition Challenge.

train_simplified/<word>.csv and train_raw/<word>.csv, with the columns
countrycode, drawing, key_id, recognized, timestamp and word, and the test
files, without the last three. `drawing` is JSON, and a row is a line.

Kaggle gave 340 of Google's 345 classes: what the classes are is read from the
user's own folder and nowhere else. A submission writes `_` for each blank of a
word.
"""

import csv
import json
import pathlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from alcurr.core.errors import UserError
from alcurr.data.quickdraw import records, strokes
from alcurr.data.quickdraw.records import Record
from alcurr.data.quickdraw.strokes import BadDrawingError
from alcurr.types import Strokes

# Lines are bounded, and so are their fields: raw drawings are longer than the
# module's own limit. It holds for the whole process and is only ever raised.
csv.field_size_limit(max(csv.field_size_limit(), records.LONGEST))
_RECOGNIZED = {"true": True, "false": False, "": True}
_BLOCK = 4096  # drawings that are packed at once


def read(file: BinaryIO) -> Iterator[tuple[int, Record | BadDrawingError]]:
  """The drawings of one word's file by the number of their line.

  Memory: of the line at hand, of at most 4 MiB, 64 bytes for each of its own.

  Raises:
    UserError: its first line does not name the columns of a training file.
  """
  rows, columns = _open(file, ("drawing", "word"))
  for number, line in rows:
    yield number, records.attempt(_parse, line, columns)


def read_test(path: str | pathlib.Path) -> tuple[Strokes, np.ndarray]:
  """A test file, test_simplified.csv or test_raw.csv, in its own order.

  Memory: 2 bytes a point, 4 a stroke and 12 a drawing, three times over while
  they are put together, and what `read` takes.

  Returns:
    The n drawings, and the `key_id` of each as a submission names it: [n]
    uint64. `Dataset.key` is another thing, a hash.

  Raises:
    UserError: no such file, not of that form, or a bad row: a submission needs
      each of them.
  """
  path = pathlib.Path(path)
  blocks, keys, pending = [], [], []
  try:
    with path.open("rb") as file:
      rows, columns = _open(file, ("key_id", "drawing"))
      for number, line in rows:
        try:
          record = _parse(line, columns)
          keys.append(_whole(record.key_id))
        except BadDrawingError as error:
          raise UserError(f"{path}:{number}: {error}; mend it.") from error
        pending.append(record.drawing)
        if len(pending) == _BLOCK:
          blocks.append(strokes.pack(pending))
          pending = []
  except OSError as error:
    raise UserError(
      f"{path}: cannot be read ({error.strerror}); name a test file of "
      "Kaggle's."
    ) from error
  if not keys:
    raise UserError(f"{path}: it holds no drawing.")
  blocks.append(strokes.pack(pending))
  return strokes.concatenate(blocks), np.array(keys, np.uint64)


def _open(
  file: BinaryIO, needed: tuple[str, ...]
) -> tuple[Iterator[tuple[int, bytes]], list[str]]:
  """The numbered lines after the first that are not blank, and the columns."""
  lines = enumerate(records.lines(file), start=1)
  _, first = next(lines, (1, b""))
  try:
    records.check_length(first)
    columns = _fields(first.removeprefix(b"\xef\xbb\xbf"))
  except BadDrawingError:
    columns = []
  missing = [name for name in needed if name not in columns]
  if missing or len(set(columns)) < len(columns):
    what = f"no {' and no '.join(missing)}" if missing else "one of them twice"
    raise UserError(
      f"{file.name}: its first line must name the columns of Kaggle's, and "
      f"has {what}; give a file with {' and '.join(needed)}."
    )
  return (pair for pair in lines if pair[1].strip()), columns


def _fields(line: bytes) -> list[str]:
  """The fields of a row: a line is one, whatever its quotes say."""
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
  try:
    decoded = json.loads(row["drawing"])
  except (ValueError, RecursionError) as error:
    raise BadDrawingError("broken JSON") from error
  recognized = _RECOGNIZED.get(row.get("recognized", "").lower())
  if recognized is None:
    raise BadDrawingError("recognized is neither True nor False")
  drawing = records.parse_drawing(decoded)
  return Record(
    drawing, row.get("key_id") or None, recognized, row.get("countrycode", "")
  )


def _whole(key_id: str | None) -> int:
  """A key as Kaggle's: digits, in 64 bits."""
  if key_id is None or not (key_id.isascii() and key_id.isdecimal()):
    raise BadDrawingError("key_id is not a whole number")
  if len(key_id) > 20 or (key := int(key_id)) >= 2**64:
    raise BadDrawingError("key_id is more than 64 bits hold")
  return key
