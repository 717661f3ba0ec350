"""python -m alcurr.data prepare: a folder of files to arrays that are mapped.

Each file becomes a part by itself, on any core, and the parts are then put one
after the other: memory is that of some thousand drawings a process, whatever
the size. A process that was killed goes on with the parts that it has.
"""

import argparse
import functools
import importlib.metadata
import pathlib
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from alcurr.core import files, lock, paths
from alcurr.core.errors import UserError
from alcurr.data import cache, parallel
from alcurr.data.pool import check_class_names
from alcurr.data.quickdraw import reader, shards, store, strokes
from alcurr.data.quickdraw.class_files import total
from alcurr.data.quickdraw.shards import Part

_PARTS = "parts"
_CHUNK = 2**20  # bytes that are copied at once


def add_arguments(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "source",
    metavar="SOURCE",
    type=pathlib.Path,
    help="a folder of <class>.ndjson, .bin, .csv or bitmap .npy files",
  )
  parser.add_argument(
    "out",
    metavar="OUT",
    type=pathlib.Path,
    help="a new folder; the same command goes on where one was killed",
  )
  parser.add_argument(
    "--on-error",
    choices=("raise", "skip"),
    default="raise",
    help="stop at the first bad drawing, or leave such out and count them",
  )


def run(args: argparse.Namespace) -> None:
  manifest = prepare(args.source, args.out, args.on_error)
  for reason, count in manifest["skipped"].items():
    print(f"left out: {count} {reason}", file=sys.stderr)
  print(
    f"{args.out}: {manifest['drawings']} drawings of "
    f"{len(manifest['classes'])} classes"
  )


def prepare(
  source: pathlib.Path, out: pathlib.Path, on_error: str = "raise"
) -> dict[str, Any]:
  """Makes a store that `prepared.load` maps; see there for its manifest.

  What was finished by a call that was cut off is not done again, and the store
  is the same to the byte. Nothing happens where it is there already.

  Memory: of each process, what `read_blocks` takes. Disk: the store twice
  until it is whole.

  Args:
    source: a directory as `quickdraw.load` reads it.
    out: a folder that is new, empty, or left by such a call.
    on_error: "raise" at the first bad drawing, or "skip" and count them.

  Returns:
    The manifest.

  Raises:
    UserError: nothing to read, a bad drawing or file, a folder of other things.
    OSError: the disk is full or broken; what was finished is kept.
  """
  sources = reader.find(source)
  sources = {name: sources[name] for name in sorted(sources)}
  check_class_names(list(sources))
  paths.check_can_make(out, "OUT")
  if out.exists() and out.samefile(source):
    raise UserError(f"{out} is SOURCE itself; choose another OUT.")
  request = {
    "version": shards.VERSION,
    "directory": str(source.resolve()),
    "on_error": on_error,
  }
  with lock.locked(out, "OUT"):
    if manifest := _whole(out, request, sources):
      shutil.rmtree(out / _PARTS, ignore_errors=True)
      return manifest
    files.remove_temporary(out)
    folder = out / _PARTS
    folder.mkdir(exist_ok=True)
    make = functools.partial(
      shards.make, folder=folder, skip=on_error == "skip"
    )
    made = parallel.each_file(make, list(sources.values()), "preparing")
    manifest = _join(out, request, dict(zip(sources, made, strict=True)))
    shutil.rmtree(folder)
  return manifest


def _whole(
  out: pathlib.Path, request: dict[str, Any], sources: dict[str, pathlib.Path]
) -> dict[str, Any] | None:
  """The manifest of a store of just this; None where there is none yet.

  Raises:
    UserError: the folder holds anything else.
  """
  if not (out / cache.MANIFEST).exists():
    # Of a call that was cut off, there may be arrays too, but with the parts.
    found = {path.name for path in out.iterdir()} - {lock.NAME}
    if found and _PARTS not in found:
      raise UserError(
        f"{out} holds files that are no prepared data; choose an empty or new "
        "OUT."
      )
    return None
  try:
    manifest = cache.read_manifest(out)
    same = manifest["request"] == request
    if same and cache.unchanged(sources, manifest["files"]):
      return manifest
  except (*cache.UNREADABLE, AttributeError):
    pass
  raise UserError(
    f"{out} holds other prepared data, or what was made of files that have "
    "changed; delete it, or choose another OUT."
  )


def _join(
  out: pathlib.Path, request: dict[str, Any], made: dict[str, Part]
) -> dict[str, Any]:
  """Puts the parts one after the other, and seals the store."""
  every = list(made.values())
  count = [part.rows["key"] for part in every]
  sums = {}
  for name, dtype, shape, chunks in _joined(every, count):
    sums[name] = store.save_stream(out / f"{name}.npy", dtype, shape, chunks)
  manifest = {
    "request": request,
    "kind": "Strokes" if "points" in sums else "Images",
    "drawings": sum(count),
    "classes": dict(zip(made, count, strict=True)),
    "skipped": total(part.skipped for part in every),
    "skipped_in": {n: part.skipped for n, part in made.items() if part.skipped},
    "files": {name: part.file for name, part in made.items()},
    "versions": {
      name: importlib.metadata.version(name) for name in ("alcurr", "numpy")
    },
  }
  cache.seal(out, manifest, sums)
  return cache.read_manifest(out)


def _joined(
  every: list[Part], count: list[int]
) -> Iterator[tuple[str, Any, tuple[int, ...], Iterator[np.ndarray]]]:
  """Name, type, shape and rows of each array of the store."""
  timed = all("speed" in part.rows for part in every)
  for name in every[0].rows:
    if name == "speed":
      continue
    dtype, shape = shards.ARRAYS[name]
    rows = sum(part.rows[name] for part in every)
    chunks = _rows(every, name, _CHUNK)
    if name == "points" and timed:
      shape, chunks = (3,), _with_speeds(every)
    if name in _OFFSETS:
      name, dtype, of, what = _OFFSETS[name]
      strokes.check_count(what, sum(part.rows[of] for part in every))
      rows, chunks = rows + 1, _cumulative(chunks)
    yield name, dtype, (rows, *shape), chunks
  yield "label", np.int32, (sum(count),), _labels(count)


# What becomes of the lengths: offsets into the rows of another array.
_OFFSETS = {
  "stroke_length": ("stroke_start", np.uint32, "points", "points"),
  "drawing_length": ("drawing_start", np.int32, "stroke_length", "strokes"),
}


def _rows(every: list[Part], name: str, size: int) -> Iterator[np.ndarray]:
  """The rows of all parts, of each as many at once as `size` bytes hold."""
  row = np.dtype(shards.ARRAYS[name])
  for part in every:
    with part.path(name).open("rb") as file:
      while len(rows := np.fromfile(file, row, size // row.itemsize)):
        yield rows


def _with_speeds(every: list[Part]) -> Iterator[np.ndarray]:
  points = _rows(every, "points", 2 * _CHUNK)
  for both in zip(points, _rows(every, "speed", _CHUNK), strict=True):
    yield np.column_stack(both)


def _cumulative(lengths: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
  """Offsets from lengths: one more than they are."""
  end = np.zeros(1, np.int64)
  yield end
  for length in lengths:
    offsets = end[-1] + np.cumsum(length, dtype=np.int64)
    yield offsets
    end = offsets[-1:]


def _labels(count: list[int]) -> Iterator[np.ndarray]:
  for label, rows in enumerate(count):
    for start in range(0, rows, _CHUNK):
      yield np.full(min(_CHUNK, rows - start), label, np.int32)
