"""Reads a file of Quick, Draw!, which holds a class."""

import collections
import itertools
import pathlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from alcurr.core.errors import UserError
from alcurr.data import arrays, strokes
from alcurr.data.quickdraw import binary, kaggle, ndjson, records
from alcurr.types import Images, Strokes


class ClassFile(NamedTuple):
  """The n drawings of one class."""

  source: Strokes | Images
  key: np.ndarray  # [n] uint64
  recognized: np.ndarray  # [n] bool
  skipped: dict[str, int]  # bad drawings by reason


# By a file's ending, the reader of its drawings and their numbers.
FORMATS = {".ndjson": ndjson.read, ".csv": kaggle.read, ".bin": binary.read}


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
    recognized = np.ones(len(rows), bool)
    return ClassFile(Images(image), arrays.content_keys(rows), recognized, {})
  keys, recognized = [], []
  skipped: collections.Counter[str] = collections.Counter()

  def good_drawings() -> Iterator[strokes.Drawing]:
    for item in read_records(path, recognized_only, skip):
      if isinstance(item, strokes.BadDrawingError):
        skipped[item.reason] += 1
      else:
        keys.append(records.key_hash(item))
        recognized.append(item.recognized)
        yield item.drawing

  chosen = itertools.islice(good_drawings(), max_per_class or None)
  source = strokes.pack(chosen)
  if not keys:
    raise UserError("data", path, "the class has no usable drawing")
  key, recognized = np.array(keys, np.uint64), np.array(recognized)
  return ClassFile(source, key, recognized, dict(skipped))


def add_counts(counts: Iterable[dict[str, int]]) -> dict[str, int]:
  """Returns the sums by key."""
  return dict(sum(map(collections.Counter, counts), collections.Counter()))


def read_records(
  path: pathlib.Path, recognized_only: bool = False, skip: bool = False
) -> Iterator[records.Record | strokes.BadDrawingError]:
  """Yields the drawings of a file; with `skip`, the errors of bad ones too.

  The arguments and errors are those of `read_class`, without bitmaps.
  """
  separator = ", record " if path.suffix == ".bin" else ":"
  try:
    with path.open("rb") as file:
      for number, parse in FORMATS[path.suffix](file):
        try:
          record = parse()
        except strokes.BadDrawingError as error:
          if not skip:
            place = f"{path}{separator}{number}"
            text = f"{error}; fix it, or set data.on_error=skip"
            raise UserError("data", place, text) from error
          yield error
        else:
          if record.recognized or not recognized_only:
            yield record
  except OSError as error:
    text = f"cannot be read: {error.strerror}"
    raise UserError("missing", path, text) from error
