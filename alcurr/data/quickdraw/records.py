"""What a file gives, drawing by drawing, whichever its form."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from alcurr.data.quickdraw import simplification, strokes

# A record's bytes. The longest of the real raw drawings that come with the
# tests is 24 thousand; a million points are more than this.
LONGEST = 2**22


class Record(NamedTuple):
  """A drawing, and what its file says of it."""

  drawing: strokes.Drawing
  key_id: str | None
  recognized: bool
  country: str  # its code; "" where the file does not say


def attempt(
  parse: Callable[..., Record], *row: Any
) -> Record | strokes.BadDrawingError:
  """What is parsed, or what is wrong with it: the rows after it are read."""
  try:
    return parse(*row)
  except strokes.BadDrawingError as error:
    return error


def lines(file: BinaryIO) -> Iterator[bytes]:
  """The lines of a file, one that is too long cut to just that."""
  while line := file.readline(LONGEST + 1):
    yield line
    while len(line) > LONGEST and not line.endswith(b"\n"):
      line = file.readline(LONGEST + 1)


def check_length(line: bytes) -> None:
  """Refuses a line that `lines` has cut."""
  if len(line) > LONGEST:
    raise strokes.BadDrawingError(f"a line of more than {LONGEST} bytes")


def parse_drawing(drawing: object) -> strokes.Drawing:
  """A decoded `drawing`, of the simplified or of the raw layout."""
  if simplification.is_raw(drawing):
    return simplification.simplify(drawing)
  return strokes.parse_simplified(drawing)


def key_hash(record: Record) -> int:
  """64 bits of the drawing's own key or, where it has none, of its points."""
  if record.key_id is not None:
    # JSON may escape half a surrogate pair, which UTF-8 has no bytes for.
    content = record.key_id.encode(errors="surrogatepass")
  else:
    points, lengths = record.drawing
    content = points[:, :2].tobytes() + repr(lengths).encode()
  digest = hashlib.blake2b(content, digest_size=8).digest()
  return int.from_bytes(digest, "little")
