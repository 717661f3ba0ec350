"""A drawing of a file, in any format."""

import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from alcurr.core.errors import UserError
from alcurr.data import strokes
from alcurr.data.quickdraw import simplification

# Most bytes of a record. The real raw drawings in the tests have up to 24
# thousand; a million points take more than this.
LONGEST = 2**22


class Record(NamedTuple):
  """A drawing, and the other fields of its file."""

  drawing: strokes.Drawing
  key_id: str | None
  recognized: bool
  country: str  # its code; "" if the file does not say


# A format's reader of a file: numbered items, and the parser of an item, to be
# called at once, which raises BadDrawingError.
Items = tuple[Iterator[tuple[int, bytes]], Callable[[bytes], Record]]
Format = Callable[[BinaryIO], Items]


def lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
  """Yields numbered lines that are not blank, cut after LONGEST + 1 bytes."""
  number = 0
  while line := file.readline(LONGEST + 1):
    number += 1
    if line.strip():
      yield number, line
    while len(line) > LONGEST and not line.endswith(b"\n"):
      line = file.readline(LONGEST + 1)


def read_file(
  path: pathlib.Path, read: Format, skip: bool = False, remedy: str = ""
) -> Iterator[Record | strokes.BadDrawingError]:
  """Yields the drawings of a file; with `skip`, the errors of bad ones too.

  Raises:
    UserError: a bad drawing unless `skip`, with the remedy, or a file that
      cannot be read.
  """
  try:
    with path.open("rb") as file:
      items, parse = read(file)
      for number, item in items:
        try:
          if len(item) > LONGEST:
            text = f"a line of more than {LONGEST} bytes"
            raise strokes.BadDrawingError(text)
          record = parse(item)
        except strokes.BadDrawingError as error:
          if not skip:
            separator = ", record " if path.suffix == ".bin" else ":"
            place = f"{path}{separator}{number}"
            raise UserError("data", place, f"{error}{remedy}") from error
          record = error
        yield record
  except OSError as error:
    text = f"cannot be read: {error.strerror}"
    raise UserError("missing", path, text) from error


def parse_json(text: str | bytes) -> Any:
  """Decodes JSON, or raises BadDrawingError."""
  try:
    return json.loads(text)
  except (ValueError, RecursionError) as error:
    raise strokes.BadDrawingError("broken JSON") from error


def from_row(row: dict[str, Any]) -> Record:
  """Builds a record of decoded fields; the drawing is simplified or raw."""
  layout = row["drawing"]
  if simplification.is_raw(layout):
    drawing = simplification.simplify(layout)
  else:
    drawing = strokes.parse_simplified(layout)
  key, country = row.get("key_id"), row.get("countrycode")
  if not isinstance(key, str | int | float | None):
    raise strokes.BadDrawingError("key_id is neither text nor number")
  key = None if key in (None, "") else str(key)
  recognized = row.get("recognized") is not False
  return Record(
    drawing, key, recognized, country if isinstance(country, str) else ""
  )


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
