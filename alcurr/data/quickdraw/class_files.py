"""Reads a file of Quick, Draw!, which holds a class."""

import collections
import itertools
import pathlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from alcurr.core.errors import UserError
from alcurr.data import arrays, strokes
from alcurr.data.quickdraw import binary, kaggle, records
from alcurr.types import Images, Strokes


class ClassFile(NamedTuple):
  """The n drawings of one class."""

  source: Strokes | Images
  key: np.ndarray  # [n] uint64
  flags: dict[str, np.ndarray]  # recognized: [n] bool, but for bitmaps
  skipped: dict[str, int]  # bad drawings by reason


def _parse_ndjson(line: bytes) -> records.Record:
  row = records.parse_json(line)
  if not isinstance(row, dict) or "drawing" not in row:
    raise strokes.BadDrawingError("not an object with a drawing")
  return records.from_row(row)


# By a file's ending. Google's .ndjson has a drawing on each line, in at most
# 4 MiB, which take 64 times as much to parse.
FORMATS: dict[str, records.Format] = {
  ".ndjson": lambda file: (records.lines(file), _parse_ndjson),
  ".csv": kaggle.read,
  ".bin": binary.read,
}


def read_class(
  path: pathlib.Path,
  max_per_class: int = 0,
  recognized_only: bool = False,
  skip: bool = False,
) -> ClassFile:
  """Reads the file of a class, of drawings or bitmaps.

  Memory: twice the packed drawings, of 2 bytes a point and 4 a stroke; 4,096
  drawings of 200 bytes, and 8 a stroke and point; and that of the format's
  `read`. Bitmaps are mapped.

  Args:
    path: the file.
    max_per_class: the number of drawings to read; 0 for all.
    recognized_only: omits drawings that were not recognized.
    skip: counts bad drawings instead of raising.

  Raises:
    UserError: a bad drawing unless `skip`, or no good drawing.
  """
  if path.suffix == ".npy":
    rows = np.asarray(arrays.load_bitmap(path)[: max_per_class or None])
    image = rows.reshape(-1, 28, 28, 1)
    return ClassFile(Images(image), arrays.content_keys(rows), {}, {})
  keys, recognized = [], []
  skipped: collections.Counter[str] = collections.Counter()

  def good_drawings() -> Iterator[strokes.Drawing]:
    read = FORMATS[path.suffix]
    remedy = "; fix it, or set data.on_error=skip"
    for item in records.read_file(path, read, skip, remedy):
      if isinstance(item, strokes.BadDrawingError):
        skipped[item.reason] += 1
      elif item.recognized or not recognized_only:
        keys.append(records.key_hash(item))
        recognized.append(item.recognized)
        yield item.drawing

  chosen = itertools.islice(good_drawings(), max_per_class or None)
  source = strokes.pack(chosen)
  if not keys:
    raise UserError("data", path, "the class has no usable drawing")
  flags = {"recognized": np.array(recognized)}
  return ClassFile(source, np.array(keys, np.uint64), flags, dict(skipped))


def add_counts(counts: Iterable[dict[str, int]]) -> dict[str, int]:
  """Returns the sums by key."""
  return dict(sum(map(collections.Counter, counts), collections.Counter()))
