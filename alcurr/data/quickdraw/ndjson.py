"""Google's <class>.ndjson, simplified or raw: a drawing on each line."""

import functools
from typing import BinaryIO

from alcurr.data.quickdraw import records
from alcurr.data.strokes import BadDrawingError


def read(file: BinaryIO) -> records.Rows:
  """Yields line numbers and parsers of drawings.

  Memory: 64 times the line's bytes, which are at most 4 MiB.
  """
  for number, line in enumerate(records.lines(file), start=1):
    if line.strip():
      yield number, functools.partial(_parse, line)


def _parse(line: bytes) -> records.Record:
  records.check_length(line)
  row = records.parse_json(line)
  if not isinstance(row, dict) or "drawing" not in row:
    raise BadDrawingError("not an object with a drawing")
  drawing = records.parse_drawing(row["drawing"])
  key = row.get("key_id")
  if not isinstance(key, str | int | float | None):
    raise BadDrawingError("key_id is neither text nor number")
  key = None if key in (None, "") else str(key)  # as in a CSV
  country = row.get("countrycode")
  country = country if isinstance(country, str) else ""
  recognized = row.get("recognized") is not False
  return records.Record(drawing, key, recognized, country)
