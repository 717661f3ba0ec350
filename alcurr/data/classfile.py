"""One class of Quick, Draw!, read from the one file that holds it."""

import collections
import hashlib
import json
import pathlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

from alcurr.data import arrays, strokes
from alcurr.errors import UserError
from alcurr.types import Images, Strokes

# A line's bytes. The longest of the real raw drawings that come with the tests
# is 24 thousand; a million points are more than this.
_LONGEST_LINE = 2**22


class ClassFile(NamedTuple):
  """What was read of one class."""

  source: Strokes | Images
  key: np.ndarray  # [n] uint64
  recognized: np.ndarray  # [n] bool
  skipped: dict[str, int]  # by reason


def read_class(
  path: pathlib.Path,
  max_per_class: int = 0,
  recognized_only: bool = False,
  skip: bool = False,
) -> ClassFile:
  """Reads one file; see `load`.

  Memory: what is packed, 2 bytes a point, and of the line at hand, of at most
  4 MiB, 64 bytes for each of its own.
  """
  if path.suffix == ".npy":
    rows = arrays.load_bitmap(path)
    rows = np.array(rows[: max_per_class or None])
    every = np.ones(len(rows), bool)
    return ClassFile(
      arrays.bitmap_images(rows), arrays.content_keys(rows), every, {}
    )
  drawings, keys, recognized = [], [], []
  skipped: collections.Counter[str] = collections.Counter()
  try:
    lines = path.open("rb")
  except OSError as error:
    raise UserError(
      f"{path}: cannot be read ({error.strerror}); give access, or leave the "
      "class out."
    ) from error
  with lines:
    for number, line in enumerate(_lines(lines), start=1):
      if max_per_class and len(drawings) == max_per_class:
        break
      if not line.strip():
        continue
      try:
        drawing, key, known = _parse_line(line)
      except strokes.BadDrawingError as error:
        if not skip:
          raise UserError(
            f"{path}:{number}: {error}; mend it, or leave such drawings out "
            "with data.on_error=skip."
          ) from error
        skipped[error.reason] += 1
        continue
      if known or not recognized_only:
        drawings.append(drawing)
        keys.append(key)
        recognized.append(known)
  if not drawings:
    raise UserError(
      f"{path}: the class has no usable drawing; give it some, or leave it out."
    )
  return ClassFile(
    strokes.pack(drawings),
    np.array(keys, np.uint64),
    np.array(recognized, bool),
    dict(skipped),
  )


def _lines(file: BinaryIO) -> Iterator[bytes]:
  """The lines of a file, one that is too long cut to just that."""
  while line := file.readline(_LONGEST_LINE + 1):
    yield line
    while len(line) > _LONGEST_LINE and not line.endswith(b"\n"):
      line = file.readline(_LONGEST_LINE + 1)


def _parse_line(line: bytes) -> tuple[strokes.Drawing, int, bool]:
  """A drawing, the hash of its key, and whether it was recognised."""
  if len(line) > _LONGEST_LINE:
    raise strokes.BadDrawingError(f"a line of more than {_LONGEST_LINE} bytes")
  try:
    row = json.loads(line)
  except (ValueError, RecursionError) as error:
    raise strokes.BadDrawingError("broken JSON") from error
  if not isinstance(row, dict) or "drawing" not in row:
    raise strokes.BadDrawingError("not an object with a drawing")
  if strokes.is_raw(row["drawing"]):
    drawing = strokes.simplify(row["drawing"])
  else:
    drawing = strokes.parse_simplified(row["drawing"])
  if (key := row.get("key_id")) is not None:
    if not isinstance(key, str | int | float):
      raise strokes.BadDrawingError("key_id is neither text nor number")
    # JSON may escape half a surrogate pair, which UTF-8 has no bytes for.
    content = str(key).encode(errors="surrogatepass")
  else:
    content = drawing.points.tobytes() + repr(drawing.lengths).encode()
  digest = hashlib.blake2b(content, digest_size=8).digest()
  return (
    drawing,
    int.from_bytes(digest, "little"),
    row.get("recognized") is not False,
  )
