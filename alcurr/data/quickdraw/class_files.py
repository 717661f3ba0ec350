"""One class of Quick, Draw!, read from the one file that holds it."""

import collections
import pathlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from alcurr.core.errors import UserError
from alcurr.data import arrays
from alcurr.data.quickdraw import binary, kaggle, ndjson, records, strokes
from alcurr.types import Images, Strokes

# What a block ends at.
_MOST_DRAWINGS = 4096
_MOST_POINTS = 2**20


class ClassFile(NamedTuple):
  """What was read of one class, or a block of it."""

  source: Strokes | Images
  key: np.ndarray  # [n] uint64
  recognized: np.ndarray  # [n] bool
  skipped: dict[str, int]  # by reason


class Form(NamedTuple):
  """How a file of drawings is read, and how a place in it is called."""

  read: Callable  # (file) -> the number and the Record or error of each drawing
  place: str


FORMS = {
  ".ndjson": Form(ndjson.read, "{}:{}"),
  ".csv": Form(kaggle.read, "{}:{}"),
  ".bin": Form(binary.read, "{}, record {}"),
}


def read_class(
  path: pathlib.Path,
  max_per_class: int = 0,
  recognized_only: bool = False,
  skip: bool = False,
) -> ClassFile:
  """Reads one file; see `quickdraw.load`.

  Memory: twice what is packed, 2 bytes a point, and what `read_blocks` takes.
  """
  blocks = list(read_blocks(path, max_per_class, recognized_only, skip))
  sources = [block.source for block in blocks]
  if isinstance(sources[0], Strokes):
    source = strokes.concatenate(sources)
  else:
    source = Images(np.concatenate([part.image for part in sources]))
  return ClassFile(
    source,
    np.concatenate([block.key for block in blocks]),
    np.concatenate([block.recognized for block in blocks]),
    total(block.skipped for block in blocks),
  )


def total(skipped: Iterator[dict[str, int]]) -> dict[str, int]:
  """The counts of all, by reason."""
  return dict(sum(map(collections.Counter, skipped), collections.Counter()))


def read_blocks(
  path: pathlib.Path,
  max_per_class: int = 0,
  recognized_only: bool = False,
  skip: bool = False,
) -> Iterator[ClassFile]:
  """Reads one file, some thousand drawings at a time; see `quickdraw.load`.

  Memory: a block, of at most 4096 drawings and two million points, about 200
  bytes for each drawing and 8 for each stroke and point, and what the form's
  `read` takes for the drawing at hand.

  Raises:
    UserError: at a bad drawing, unless it is to `skip` it, or at the end of a
      file without a good one.
  """
  if path.suffix == ".npy":
    yield from _bitmap_blocks(path, max_per_class)
    return
  wanted = read_records(path, recognized_only, skip)
  kept, points, count = [], 0, 0
  skipped: collections.Counter[str] = collections.Counter()
  for item in wanted:
    if isinstance(item, strokes.BadDrawingError):
      skipped[item.reason] += 1
      continue
    kept.append(item)
    points += len(item.drawing.points)
    if len(kept) == _MOST_DRAWINGS or points > _MOST_POINTS:
      count += len(kept)
      yield _pack(kept, skipped)
      kept, points = [], 0
      skipped.clear()
    if max_per_class and count + len(kept) == max_per_class:
      break
  if not count + len(kept):
    raise UserError(
      f"{path}: the class has no usable drawing; give it some, or leave it out."
    )
  if kept or skipped:
    yield _pack(kept, skipped)


def read_records(
  path: pathlib.Path, recognized_only: bool = False, skip: bool = False
) -> Iterator[records.Record | strokes.BadDrawingError]:
  """The drawings of one file one by one, and what is wrong with bad ones.

  Memory: what the form's `read` takes for the drawing at hand.

  Args:
    path: of drawings, not of bitmaps.
    recognized_only: leave out the others.
    skip: give what is wrong with a bad drawing.

  Raises:
    UserError: a bad drawing that is not to be skipped, or no access.
  """
  form = FORMS[path.suffix]
  try:
    with path.open("rb") as file:
      for number, item in form.read(file):
        if isinstance(item, strokes.BadDrawingError):
          if not skip:
            raise UserError(
              f"{form.place.format(path, number)}: {item}; mend it, or leave "
              "such drawings out with data.on_error=skip."
            ) from item
          yield item
        elif item.recognized or not recognized_only:
          yield item
  except OSError as error:
    raise UserError(
      f"{path}: cannot be read ({error.strerror}); give access, or leave the "
      "class out."
    ) from error


def _pack(kept: list[records.Record], skipped: dict[str, int]) -> ClassFile:
  return ClassFile(
    strokes.pack(record.drawing for record in kept),
    np.fromiter(map(records.key_hash, kept), np.uint64, len(kept)),
    np.fromiter((record.recognized for record in kept), bool, len(kept)),
    dict(skipped),
  )


def _bitmap_blocks(
  path: pathlib.Path, max_per_class: int
) -> Iterator[ClassFile]:
  rows = arrays.load_bitmap(path)[: max_per_class or None]
  for start in range(0, len(rows), _MOST_DRAWINGS):
    block = np.array(rows[start : start + _MOST_DRAWINGS])
    yield ClassFile(
      arrays.bitmap_images(block),
      arrays.content_keys(block),
      np.ones(len(block), bool),
      {},
    )
