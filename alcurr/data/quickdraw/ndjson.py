"""Google's <class>.ndjson, simplified or raw: a drawing on each line."""

import json
from collections.abc import Iterator
from typing import BinaryIO

from alcurr.data.quickdraw import records
from alcurr.data.quickdraw.records import Record
from alcurr.data.strokes import BadDrawingError


def read(file: BinaryIO) -> Iterator[tuple[int, Record | BadDrawingError]]:
  """Yields line numbers and drawings.

  Memory: 64 times the line's bytes, which are at most 4 MiB.
  """
  for number, line in enumerate(records.lines(file), start=1):
    if line.strip():
      yield number, records.attempt(_parse, line)


def _parse(line: bytes) -> Record:
  records.check_length(line)
  try:
    row = json.loads(line)
  except (ValueError, RecursionError) as error:
    raise BadDrawingError("broken JSON") from error
  if not isinstance(row, dict) or "drawing" not in row:
    raise BadDrawingError("not an object with a drawing")
  drawing = records.parse_drawing(row["drawing"])
  key = row.get("key_id")
  if not isinstance(key, str | int | float | None):
    raise BadDrawingError("key_id is neither text nor number")
  country = row.get("countrycode")
  return Record(
    drawing,
    # An empty key is none, as in a CSV.
    None if key in (None, "") else str(key),
    row.get("recognized") is not False,
    country if isinstance(country, str) else "",
  )
