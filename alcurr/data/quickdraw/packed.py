"""python -m alcurr.data prepare: packs drawing files into mapped arrays.

Each file becomes a part, on any core. The parts are joined to a store, which is
an entry of `alcurr.data.cache`.
"""

import argparse
import contextlib
import functools
import pathlib
import re
import shutil
import sys
from collections.abc import Collection, Iterator
from importlib import metadata
from typing import Any

import numpy as np

from alcurr.core import files, lock, paths
from alcurr.core.errors import UserError
from alcurr.data import cache, parallel, strokes
from alcurr.data.pool import Dataset, check_class_names
from alcurr.data.quickdraw import by_class, items, reader, records, stroke_forms
from alcurr.types import Images, Strokes

_VERSION = 7  # of the content of parts and stores
_PARTS = "parts"
# What a store consists of.
_ARRAYS = (*Strokes._fields, *Images._fields, "label", "key", "recognized")
_ARRAYS += (*by_class.PLACES,)
_FILES = {_PARTS, cache.MANIFEST, *(f"{name}.npy" for name in _ARRAYS)}
_PART = re.compile(r"\.?[0-9a-f]{16}(\..*)?")  # the name of a cache entry
# Arrays of offsets, and their units.
_OFFSETS = {"stroke_start": "points", "drawing_start": "strokes"}


def run(args: argparse.Namespace) -> None:
  """Runs the command."""
  manifest = prepare(
    args.source, args.out, args.on_error, args.stroke_form, args.max_bytes
  )
  for reason, count in manifest["skipped"].items():
    print(f"skipped: {count} {reason}", file=sys.stderr)
  num_classes = len(manifest["classes"])
  print(f"{args.out}: {manifest['drawings']} drawings of {num_classes} classes")


def prepare(
  source: pathlib.Path,
  out: pathlib.Path,
  on_error: str = "raise",
  stroke_form: str = "",
  max_bytes: int = items.MAX_BYTES,
) -> dict[str, Any]:
  """Makes a store that `load` maps.

  A killed call resumes from its complete parts and makes the same bytes. An
  existing store is not touched.

  Memory: as `reader.read_class`, in each process; for one file of several
  classes, its packed drawings four times. Disk: the store twice.

  Args:
    source: a directory or a file as `reader.load` reads it.
    out: a folder that is new, empty, or of a killed call.
    on_error: "raise" at the first bad drawing, or "skip" and count them.
    stroke_form: see `reader.load`.
    max_bytes: see `reader.load`.

  Returns:
    The manifest; see `open_store`.

  Raises:
    UserError: nothing to read, a bad drawing or file, or `out` holds others.
    OSError: the disk is full or broken; complete parts stay.
  """
  stroke_forms.check(stroke_form)
  source, out = paths.absolute(source, "SOURCE"), paths.absolute(out, "OUT")
  sources = reader.find(source)
  if len(sources) > 1:
    check_class_names(list(sources))
  paths.check_can_make(out, "OUT")
  if out.exists() and out.samefile(source):
    raise UserError("conflict", "OUT", f"{out} is SOURCE itself")
  request = {
    "version": _VERSION,
    "directory": str(source.resolve()),
    "on_error": on_error,
    "stroke_form": stroke_form,
    "max_bytes": max_bytes,
  }
  folder = out / _PARTS
  with lock.locked(out, "OUT"):
    if not _is_made(out, request, sources):
      files.remove_temporary(out, _FILES)
      make = functools.partial(_make_part, folder, request, len(sources) == 1)
      entries = parallel.each_file(make, list(sources.values()), "preparing")
      _join(out, request, dict(zip(sources, entries, strict=True)))
    shutil.rmtree(folder, ignore_errors=True)
    return cache.read_manifest(out)


def _is_made(
  out: pathlib.Path, request: dict[str, Any], sources: dict[str, pathlib.Path]
) -> bool:
  """Returns whether the requested store exists; refuses other content."""
  for path in files.walk(out, _FILES):
    is_part = path.parent != out / _PARTS or _PART.fullmatch(path.name)
    if path.is_symlink() or not is_part:
      raise UserError("exists", "OUT", f"{path} is not of prepared data")
  names = {path.name for path in out.iterdir()} - {lock.NAME}
  # A killed call may have written arrays too, but then there are parts.
  if cache.MANIFEST not in names and (not names or _PARTS in names):
    return False
  with contextlib.suppress(*cache.UNREADABLE):
    manifest = cache.read_manifest(out)
    same = manifest["request"] == request
    if same and cache.unchanged(sources, manifest["files"]):
      return True
  text = f"{out} holds other files, or data of other files or options"
  raise UserError("exists", "OUT", text)


def _make_part(
  folder: pathlib.Path, request: dict[str, Any], alone: bool, path: pathlib.Path
) -> pathlib.Path:
  """Returns the cache entry of a file, made again only if necessary.

  A file that is alone may hold several classes, one after the other then.
  """
  entry = folder / cache.digest({**request, "file": path.name})
  cached = cache.read_arrays(entry, mmap_mode="r")
  if not (cached and cache.unchanged({"": path}, {"": cached[1]["file"]})):
    fingerprint = cache.fingerprint({"": path})[""]
    options = {name: request[name] for name in records.Options._fields}
    name = records.class_name(path)
    if alone:
      parts = reader.read_files({name: path}, **options)
      check_class_names(list(parts))
    else:
      parts = {name: reader.read_class(path, **options)}
    arrays = by_class.join(list(parts.values()))
    del arrays["label"]
    manifest = {
      "file": fingerprint,
      "classes": {name: len(part.key) for name, part in parts.items()},
      "skipped": {n: p.skipped for n, p in parts.items() if p.skipped},
    }
    cache.write_arrays(entry, arrays, manifest)
  return entry


def _join(
  out: pathlib.Path, request: dict[str, Any], parts: dict[str, pathlib.Path]
) -> None:
  """Joins the parts, by the names of their files, to a store."""
  entries = list(parts.values())
  manifests = {name: cache.read_manifest(e) for name, e in parts.items()}
  classes, skipped = (
    {n: value for m in manifests.values() for n, value in m[field].items()}
    for field in ("classes", "skipped")
  )
  repeated = (by_class.count_repeated(_load(e, "key")) for e in entries)
  by_class.warn_repeated(request["directory"], sum(repeated))
  checksums = {
    name: _join_array(out, name, entries)
    for name in manifests[next(iter(parts))]["checksums"]
  }
  count = enumerate(classes.values())
  labels = (np.full(n, label, np.int32) for label, n in count)
  path, shape = out / "label.npy", (sum(classes.values()),)
  checksums["label"] = cache.write_stream(path, np.int32, shape, labels)
  manifest = {
    "request": request,
    "kind": "Strokes" if "points" in checksums else "Images",
    "drawings": sum(classes.values()),
    "classes": classes,
    "skipped": by_class.add_counts(skipped.values()),
    "skipped_in": skipped,
    "files": {name: m["file"] for name, m in manifests.items()},
    "versions": {n: metadata.version(n) for n in ("alcurr", "numpy")},
  }
  cache.write_manifest(out, manifest, checksums)


def _load(entry: pathlib.Path, name: str) -> np.ndarray:
  path = entry / f"{name}.npy"
  return np.load(path, mmap_mode="r", allow_pickle=False)


def _join_array(
  out: pathlib.Path, name: str, entries: list[pathlib.Path]
) -> int:
  """Writes one array of the store and returns its checksum."""

  def parts() -> Iterator[np.ndarray]:
    # Not all open at once: the system limits the number of mapped files.
    return (_load(entry, name) for entry in entries)

  rows, dtype = sum(map(len, parts())), next(parts()).dtype
  shape = min(part.shape[1:] for part in parts())
  if name in _OFFSETS:
    rows -= len(entries) - 1
    chunks = _offsets(parts(), _OFFSETS[name])
  else:  # the pen's speed is lost unless all parts have it
    columns = (slice(None), *map(slice, shape))
    chunks = (part[columns] for part in parts())
  return cache.write_stream(out / f"{name}.npy", dtype, (rows, *shape), chunks)


def _offsets(parts: Iterator[np.ndarray], unit: str) -> Iterator[np.ndarray]:
  """Yields the offsets of the joined array."""
  end = np.zeros(1, np.int64)
  yield end
  for part in parts:
    offsets = end + part[1:]
    end = offsets[-1:]
    strokes.check_count(unit, int(end[0]))
    yield offsets


def open_store(
  directory: str | pathlib.Path,
) -> tuple[Dataset, dict[str, Any]]:
  """Maps a prepared store and verifies its checksums.

  Memory: pages of the files, which the system frees when it needs to.

  Returns:
    The dataset, and the manifest: "classes" (drawings by class), "files",
    "skipped" (by reason), "skipped_in" (by class and reason), "versions".

  Raises:
    UserError: no store, or a damaged one.
  """
  directory = paths.absolute(directory, "dir")
  if not (directory / cache.MANIFEST).is_file():
    text = "no prepared data; make it with python -m alcurr.data prepare"
    raise UserError("missing", directory, text)
  try:
    mapped, manifest = cache.read_checked(directory, mmap_mode="r")
    arrays = {name: np.asarray(array) for name, array in mapped.items()}
    file_names = [
      pathlib.PurePath(file["path"]).name for file in manifest["files"].values()
    ]
    dataset = by_class.to_dataset(arrays, manifest["classes"], file_names)
    # The checksums were just verified; another hash would read all again.
    content = {k: manifest[k] for k in ("checksums", "kind", "classes")}
    return dataset._replace(content=cache.digest(content)), manifest
  except cache.UNREADABLE as error:
    text = f"{error}; delete it and prepare it again"
    raise UserError("damaged", directory, text) from error


def load(
  directory: str | pathlib.Path,
  *,
  classes: str | int | Collection[str] = "all",
  max_per_class: int = 0,
  recognized_only: bool = False,
) -> Dataset:
  """Loads a prepared store, or a part of it.

  The arguments and errors are those of `reader.load` and `open_store`.

  Memory: 8 bytes a drawing, 24 of a part, and the drawings of a part; the whole
  is mapped.
  """
  dataset, _ = open_store(directory)
  return by_class.choose(
    dataset, directory, classes, max_per_class, recognized_only
  )
