"""The part of a store that one file of drawings gives, as it is prepared.

A part is `<id>.json`, written last, and raw files `<id>.<array>`: of drawings
their points (and apart from them the pen's speeds, if all have them), the
lengths of strokes and drawings, and what is known of each; of bitmaps their
images. None waits for the disk, as thousands would: the checksums
in the first tell what a failing power has left of the others.
"""

import collections
import contextlib
import json
import pathlib
import zlib
from typing import Any, NamedTuple

import numpy as np

from alcurr.core import files
from alcurr.data import cache
from alcurr.data.quickdraw import strokes
from alcurr.data.quickdraw.class_files import ClassFile, read_blocks
from alcurr.types import Strokes

VERSION = 3  # of what parts hold; a new one makes every part anew
# The type of each array and the shape of an element.
ARRAYS = {
  "points": (np.uint8, (2,)),
  "speed": (np.uint8, ()),  # at each point
  "stroke_length": (np.uint32, ()),
  "drawing_length": (np.int32, ()),
  "image": (np.uint8, (28, 28, 1)),
  "key": (np.uint64, ()),
  "recognized": (bool, ()),
}


class Part(NamedTuple):
  """A whole part."""

  stem: pathlib.Path  # of its files
  file: dict[str, Any]  # what vouches for the file it was made of
  rows: dict[str, int]  # by array
  skipped: dict[str, int]  # by reason

  def path(self, array: str) -> pathlib.Path:
    return _path(self.stem, array)


def _path(stem: pathlib.Path, end: str) -> pathlib.Path:
  return stem.with_name(f"{stem.name}.{end}")


def make(source: pathlib.Path, folder: pathlib.Path, skip: bool) -> Part:
  """The part of a file: the one that is there already, or a new one.

  Memory: what `read_blocks` takes, whatever the file's size.

  Args:
    source: of one class.
    folder: of the parts.
    skip: whether bad drawings are counted and left out.
  """
  stem = folder / cache.digest({"file": source.name})
  request = {"version": VERSION, "skip": skip}
  if part := _found(source, stem, request):
    return part
  _path(stem, "json").unlink(missing_ok=True)
  # Before reading: a file that changes meanwhile must not pass as read.
  vouched = cache.vouch({"file": source})["file"]
  skipped: collections.Counter[str] = collections.Counter()
  rows: collections.Counter[str] = collections.Counter()
  sums: dict[str, int] = {}
  with contextlib.ExitStack() as stack:
    handles = {}
    for block in read_blocks(source, skip=skip):
      skipped.update(block.skipped)
      for name, array in _arrays(block).items():
        if name not in handles:
          handles[name] = stack.enter_context(_path(stem, name).open("wb"))
        content = array.tobytes()
        with files.naming(_path(stem, name)):
          handles[name].write(content)
        rows[name] += len(array)
        sums[name] = zlib.crc32(content, sums.get(name, 0))
  if 0 < rows["speed"] < rows["points"]:
    sums.pop("speed")
    rows["speed"] = 0
  rows = +rows  # without those that are none
  part = {"file": vouched, "rows": dict(rows), "skipped": dict(skipped)}
  record = json.dumps({**request, **part, "checksums": sums})
  temporary = _path(stem, "begun")
  temporary.write_text(record, encoding="utf-8")
  temporary.replace(_path(stem, "json"))
  return Part(stem, **part)


def _found(
  source: pathlib.Path, stem: pathlib.Path, request: dict[str, Any]
) -> Part | None:
  """A part that is whole, and of the file as it is now."""
  path = _path(stem, "json")
  record = files.read_record(path) if path.exists() else None
  if record is None or any(record.get(k) != v for k, v in request.items()):
    return None
  part = Part(stem, record["file"], record["rows"], record["skipped"])
  try:
    if any(_sum(part.path(k)) != v for k, v in record["checksums"].items()):
      return None
  except FileNotFoundError:
    return None
  return part if cache.unchanged({"": source}, {"": part.file}) else None


def _sum(path: pathlib.Path) -> int:
  value = 0
  with path.open("rb") as file:
    while chunk := file.read(2**20):
      value = zlib.crc32(chunk, value)
  return value


def _arrays(block: ClassFile) -> dict[str, np.ndarray]:
  """What is written of a block."""
  if not isinstance(block.source, Strokes):
    return {"image": block.source.image, "key": block.key}
  points, stroke_start, drawing_start = block.source
  found = {
    "points": points[:, :2],
    "stroke_length": strokes.lengths(stroke_start),
    "drawing_length": strokes.lengths(drawing_start),
    "key": block.key,
    "recognized": block.recognized,
  }
  if points.shape[1] == 3:
    found["speed"] = points[:, 2]
  return {
    name: array.astype(ARRAYS[name][0], copy=False)
    for name, array in found.items()
  }
