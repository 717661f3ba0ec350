"""python -m alcurr.data prepare: packs a folder of files into mapped arrays.

Each file becomes a part, on any core, and the parts are then joined. A process
holds the drawings of one class. A killed process keeps its complete parts.
"""

import argparse
import contextlib
import functools
import pathlib
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import numpy as np

from alcurr.core import files, lock, paths
from alcurr.core.errors import UserError
from alcurr.data import cache, parallel, strokes
from alcurr.data.pool import check_class_names
from alcurr.data.quickdraw import reader
from alcurr.data.quickdraw.class_files import add_counts, read_class
from alcurr.types import Images, Strokes

_VERSION = 4  # of the content of parts and stores
_PARTS = "parts"
_ROWS = 2**18  # rows that are copied at once
# What is written to the folder. All else is the user's.
_ARRAYS = (*Strokes._fields, *Images._fields, "label", "key", "recognized")
_FILES = {_PARTS, cache.MANIFEST, *(f"{name}.npy" for name in _ARRAYS)}
# Arrays of offsets, and their units.
_OFFSETS = {"stroke_start": "points", "drawing_start": "strokes"}


def run(args: argparse.Namespace) -> None:
  """Runs the command."""
  manifest = prepare(args.source, args.out, args.on_error)
  for reason, count in manifest["skipped"].items():
    print(f"skipped: {count} {reason}", file=sys.stderr)
  num_classes = len(manifest["classes"])
  print(f"{args.out}: {manifest['drawings']} drawings of {num_classes} classes")


def prepare(
  source: pathlib.Path, out: pathlib.Path, on_error: str = "raise"
) -> dict[str, Any]:
  """Makes a store that `packed.load` maps.

  A killed call resumes from its complete parts and makes the same bytes. An
  existing store is not touched.

  Memory: as `read_class`, in each process. Disk: the store twice.

  Args:
    source: a directory as `reader.load` reads it.
    out: a folder that is new, empty, or of a killed call.
    on_error: "raise" at the first bad drawing, or "skip" and count them.

  Returns:
    The manifest; see `packed.open_store`.

  Raises:
    UserError: nothing to read, a bad drawing or file, or `out` holds others.
    OSError: the disk is full or broken; complete parts stay.
  """
  sources = reader.find(source)
  check_class_names(list(sources))
  paths.check_can_make(out, "OUT")
  if out.exists() and out.samefile(source):
    raise UserError("conflict", "OUT", f"{out} is SOURCE itself")
  request = {
    "version": _VERSION,
    "directory": str(source.resolve()),
    "on_error": on_error,
  }
  folder = out / _PARTS
  with lock.locked(out, "OUT"):
    if folder.is_symlink():
      raise UserError("exists", "OUT", f"{folder} is a link")
    manifest = _read_existing(out, request, sources)
    if manifest is None:
      files.remove_temporary(out, _FILES)
      make = functools.partial(_make_part, folder, request)
      parts = parallel.each_file(make, list(sources.values()), "preparing")
      manifest = _join(out, request, dict(zip(sources, parts, strict=True)))
    shutil.rmtree(folder, ignore_errors=True)
  return manifest


def _read_existing(
  out: pathlib.Path, request: dict[str, Any], sources: dict[str, pathlib.Path]
) -> dict[str, Any] | None:
  """Returns the manifest of the requested store, or None without a store."""
  if not (out / cache.MANIFEST).exists():
    # A killed call may have written arrays too, but then there are parts.
    taken = list(files.walk(out, _FILES))
    if taken and out / _PARTS not in taken:
      raise UserError("exists", "OUT", f"{taken[0]} is not overwritten")
    return None
  with contextlib.suppress(*cache.UNREADABLE):
    manifest = cache.read_manifest(out)
    same = manifest["request"] == request
    if same and cache.unchanged(sources, manifest["files"]):
      return manifest
  text = f"{out} holds prepared data of other files or options"
  raise UserError("exists", "OUT", text)


def _make_part(
  folder: pathlib.Path, request: dict[str, Any], path: pathlib.Path
) -> pathlib.Path:
  """Returns the cache entry of a file, made again only if necessary."""
  entry = folder / cache.digest({**request, "file": path.name})
  cached = cache.read_arrays(entry, mmap_mode="r")
  if not (cached and cache.unchanged({"": path}, {"": cached[1]["file"]})):
    fingerprint = cache.fingerprint({"": path})[""]
    part = read_class(path, skip=request["on_error"] == "skip")
    arrays = {**part.source._asdict(), "key": part.key}
    if isinstance(part.source, Strokes):
      arrays["recognized"] = part.recognized
    manifest = {"file": fingerprint, "skipped": part.skipped}
    cache.write_arrays(entry, arrays, manifest)
  return entry


def _join(
  out: pathlib.Path, request: dict[str, Any], parts: dict[str, pathlib.Path]
) -> dict[str, Any]:
  """Joins the parts, by class, to a store; returns its manifest."""
  entries = list(parts.values())
  manifests = {name: cache.read_manifest(e) for name, e in parts.items()}
  count = [len(_load(entry, "key")) for entry in entries]
  checksums = {
    name: _join_array(out, name, entries)
    for name in manifests[next(iter(parts))]["checksums"]
  }
  labels = (np.full(n, label, np.int32) for label, n in enumerate(count))
  path, shape = out / "label.npy", (sum(count),)
  checksums["label"] = cache.write_stream(path, np.int32, shape, labels)
  skipped = {n: m["skipped"] for n, m in manifests.items() if m["skipped"]}
  manifest = {
    "request": request,
    "kind": "Strokes" if "points" in checksums else "Images",
    "drawings": sum(count),
    "classes": dict(zip(parts, count, strict=True)),
    "skipped": add_counts(skipped.values()),
    "skipped_in": skipped,
    "files": {name: manifests[name]["file"] for name in parts},
    "versions": {n: metadata.version(n) for n in ("alcurr", "numpy")},
  }
  cache.write_manifest(out, manifest, checksums)
  return cache.read_manifest(out)


def _load(entry: pathlib.Path, name: str) -> np.ndarray:
  path = entry / f"{name}.npy"
  return np.load(path, mmap_mode="r", allow_pickle=False)


def _join_array(
  out: pathlib.Path, name: str, entries: list[pathlib.Path]
) -> int:
  """Writes one array of the store and returns its checksum."""
  # Not all open at once: the system limits the number of mapped files.
  rows = sum(len(_load(entry, name)) for entry in entries)
  first = _load(entries[0], name)
  shape, chunks = first.shape[1:], _chunks(entries, name)
  if name == "points":  # with the pen's speed if all parts have it
    shape = min(_load(entry, name).shape[1:] for entry in entries)
    chunks = (chunk[:, : shape[0]] for chunk in chunks)
  elif name in _OFFSETS:
    total = sum(int(_load(entry, name)[-1]) for entry in entries)
    strokes.check_count(_OFFSETS[name], total)
    rows, chunks = rows - len(entries) + 1, _offsets(entries, name)
  path = out / f"{name}.npy"
  return cache.write_stream(path, first.dtype, (rows, *shape), chunks)


def _chunks(entries: list[pathlib.Path], name: str) -> Iterator[np.ndarray]:
  for entry in entries:
    array = _load(entry, name)
    for start in range(0, len(array), _ROWS):
      yield array[start : start + _ROWS]


def _offsets(entries: list[pathlib.Path], name: str) -> Iterator[np.ndarray]:
  """Yields the offsets of the joined array."""
  end = np.zeros(1, np.int64)
  yield end
  for entry in entries:
    offsets = end[-1] + _load(entry, name)[1:].astype(np.int64)
    yield offsets
    end = offsets[-1:]
