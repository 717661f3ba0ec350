"""Reads one class of Quick, Draw! from the one file that holds it."""

import collections
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from alcurr.core.errors import UserError
from alcurr.data import arrays, strokes
from alcurr.data.quickdraw import binary, kaggle, ndjson, records
from alcurr.types import Images, Strokes

_BLOCK = 4096  # drawings that are packed at once


class ClassFile(NamedTuple):
  """The n drawings of one class."""

  source: Strokes | Images
  key: np.ndarray  # [n] uint64
  recognized: np.ndarray  # [n] bool
  skipped: dict[str, int]  # bad drawings by reason


class FileFormat(NamedTuple):
  """How a file of drawings is read, and how a place in it is written."""

  read: Callable  # (file) -> the number and the Record or error of each drawing
  place: str


FORMATS = {
  ".ndjson": FileFormat(ndjson.read, "{}:{}"),
  ".csv": FileFormat(kaggle.read, "{}:{}"),
  ".bin": FileFormat(binary.read, "{}, record {}"),
}


def read_class(
  path: pathlib.Path,
  max_per_class: int = 0,
  recognized_only: bool = False,
  skip: bool = False,
) -> ClassFile:
  """Reads one file.

  Memory: twice the packed drawings, of 2 bytes a point and 4 a stroke; about
  200 bytes a drawing and 8 a stroke and point for 4,096 drawings; and what the
  format's `read` takes for one. Bitmaps are mapped.

  Args:
    path: the file, of drawings or bitmaps.
    max_per_class: the first ones; 0 for all.
    recognized_only: omits other drawings; bitmaps do not say.
    skip: counts bad drawings instead of raising.

  Raises:
    UserError: a bad drawing that is not to be skipped, or no good one.
  """
  if path.suffix == ".npy":
    rows = np.asarray(arrays.load_bitmap(path)[: max_per_class or None])
    image = rows.reshape(-1, 28, 28, 1)
    recognized = np.ones(len(rows), bool)
    return ClassFile(Images(image), arrays.content_keys(rows), recognized, {})
  blocks, good, keys, recognized = [], [], [], []
  skipped: collections.Counter[str] = collections.Counter()
  for item in read_records(path, recognized_only, skip):
    if isinstance(item, strokes.BadDrawingError):
      skipped[item.reason] += 1
      continue
    good.append(item.drawing)
    keys.append(records.key_hash(item))
    recognized.append(item.recognized)
    if len(good) == _BLOCK:
      blocks.append(strokes.pack(good))
      good = []
    if len(keys) == max_per_class:
      break
  if not keys:
    raise UserError("data", path, "the class has no usable drawing")
  blocks += [strokes.pack(good)] if good else []
  source = strokes.concatenate(blocks)
  key, recognized = np.array(keys, np.uint64), np.array(recognized)
  return ClassFile(source, key, recognized, dict(skipped))


def add_counts(counts: Iterable[dict[str, int]]) -> dict[str, int]:
  """Returns the sums by key."""
  return dict(sum(map(collections.Counter, counts), collections.Counter()))


def read_records(
  path: pathlib.Path, recognized_only: bool = False, skip: bool = False
) -> Iterator[records.Record | strokes.BadDrawingError]:
  """Yields the drawings of one file, which is not of bitmaps.

  With `skip`, yields the errors of bad drawings too. The other arguments and
  errors are those of `read_class`.
  """
  file_format = FORMATS[path.suffix]
  try:
    with path.open("rb") as file:
      for number, item in file_format.read(file):
        if isinstance(item, strokes.BadDrawingError):
          if not skip:
            raise UserError(
              "data",
              file_format.place.format(path, number),
              f"{item}; fix it, or skip such drawings with data.on_error=skip",
            ) from item
          yield item
        elif item.recognized or not recognized_only:
          yield item
  except OSError as error:
    text = f"cannot be read: {error.strerror}"
    raise UserError("missing", path, text) from error
