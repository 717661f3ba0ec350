"""A drawing of a file, in any format."""

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

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


# A drawing's number in its file, and its parser, which raises BadDrawingError.
Rows = Iterator[tuple[int, Callable[[], Record]]]


def lines(file: BinaryIO) -> Iterator[bytes]:
  """Yields the lines of a file, cut after LONGEST + 1 bytes."""
  while line := file.readline(LONGEST + 1):
    yield line
    while len(line) > LONGEST and not line.endswith(b"\n"):
      line = file.readline(LONGEST + 1)


def check_length(line: bytes) -> None:
  """Raises BadDrawingError for a line that `lines` has cut."""
  if len(line) > LONGEST:
    raise strokes.BadDrawingError(f"a line of more than {LONGEST} bytes")


def parse_json(text: str | bytes) -> Any:
  """Decodes JSON, or raises BadDrawingError."""
  try:
    return json.loads(text)
  except (ValueError, RecursionError) as error:
    raise strokes.BadDrawingError("broken JSON") from error


def parse_drawing(drawing: object) -> strokes.Drawing:
  """Parses a decoded `drawing` of the simplified or the raw layout."""
  if simplification.is_raw(drawing):
    return simplification.simplify(drawing)
  return strokes.parse_simplified(drawing)


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
