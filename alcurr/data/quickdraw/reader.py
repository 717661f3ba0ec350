"""Reads a folder of Quick, Draw! files, as Google and Kaggle published them.

They are <class>.ndjson, simplified or raw, <class>.bin, Kaggle's <class>.csv,
or 28x28 bitmaps <class>.npy. Names of Google's bucket such as
full_binary_<class>.bin are understood too.
"""

import collections
import functools
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from alcurr.core import files as file_rules
from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.data import arrays, cache, parallel, strokes
from alcurr.data.pool import Dataset, choose_classes, join_sources
from alcurr.data.quickdraw import records
from alcurr.types import Images, Strokes

_VERSION = 6  # of the cache's content; another one is not read


class ClassFile(NamedTuple):
  """The n drawings of one class."""

  source: Strokes | Images
  key: np.ndarray  # [n] uint64
  flags: dict[str, np.ndarray]  # recognized: [n] bool, but for bitmaps
  skipped: dict[str, int]  # bad drawings by reason


def load(
  directory: str | pathlib.Path,
  *,
  classes: str | int | Sequence[str] = "all",
  max_per_class: int = 0,
  recognized_only: bool = False,
  on_error: str = "raise",
  cache_dir: str | pathlib.Path | None = None,
) -> tuple[Dataset, dict[str, Any]]:
  """Reads a directory, or its packed form from the cache.

  The order is by class name, then as in the file. Large directories are read
  by several processes, so scripts need `if __name__ == "__main__":`.

  Args:
    directory: files of one format, each named by its class.
    classes: see `alcurr.data.pool.choose_classes`.
    max_per_class: the first drawings of each class; 0 for all.
    recognized_only: omits drawings with `recognized: false`; not for bitmaps.
    on_error: "raise" at the first bad drawing, or "skip" and count them.
    cache_dir: where packed data is saved; None saves nothing.

  Returns:
    The dataset, and a report: "classes" (drawings by class), "skipped"
    (by reason), "cached" (whether the data came from the cache).

  Raises:
    UserError: nothing to read, an unknown class, a bad drawing or file.
  """
  specs.check_choice("on_error", on_error, ("raise", "skip"))
  specs.check_range("max_per_class", max_per_class, 0)
  directory = pathlib.Path(directory)
  files = find(directory)
  names = choose_classes(list(files), classes)
  files = {name: files[name] for name in names}
  if recognized_only and files[names[0]].suffix.lower() == ".npy":
    raise UserError("conflict", "recognized_only", "bitmaps have no such flag")
  choice = {
    "max_per_class": max_per_class,
    "recognized_only": recognized_only,
    "on_error": on_error,
  }
  request = {
    "version": _VERSION,
    "directory": str(directory.resolve()),
    "classes": names,
    **choice,
  }
  name = f"quickdraw-{cache.digest(request)}"
  entry = cache_dir and pathlib.Path(cache_dir, name)
  saved = entry and cache.read_arrays(entry)
  cached = bool(saved) and cache.unchanged(files, saved[1]["files"])
  if cached:
    packed, manifest = saved
  else:
    fingerprint = entry and cache.fingerprint(files)
    read = functools.partial(read_class, **choice)
    parts = parallel.each_file(read, list(files.values()), "reading")
    packed = _join(parts)
    manifest = {
      "request": request,
      "files": fingerprint,
      "drawings": len(packed["label"]),
      "skipped": add_counts(part.skipped for part in parts),
      "kind": type(parts[0].source).__name__,
    }
    if entry:
      cache.write_arrays(entry, packed, manifest)
  dataset = to_dataset(packed, names)
  warn_repeated(directory, count_repeated(dataset.key))
  count = np.bincount(dataset.label, minlength=len(names)).tolist()
  return dataset, {
    "classes": dict(zip(names, count, strict=True)),
    "skipped": manifest["skipped"],
    "cached": cached,
  }


def find(directory: pathlib.Path) -> dict[str, pathlib.Path]:
  """Returns the files by class name, sorted.

  Raises:
    UserError: no files, several formats, two files of a class, what is not a
      regular file, or a prepared store.
  """
  try:
    paths = sorted(directory.iterdir())
  except OSError as error:  # missing, a file, no access, a name too long
    text = f"cannot be listed: {error.strerror}"
    raise UserError("missing", directory, text) from error
  if (directory / cache.MANIFEST) in paths:
    text = "holds prepared data; read it with data.source=prepared"
    raise UserError("conflict", directory, text)
  endings = (*records.FORMATS, ".npy")
  paths = [
    path
    for path in paths
    if path.suffix.lower() in endings
    and not file_rules.is_left_by_tools(path.name)
  ]
  formats = sorted({path.suffix.lower() for path in paths})
  if len(formats) != 1:
    expected, got = " or ".join(endings), ", ".join(formats) or "none"
    text = f"expected <class>{expected} files of one format, got {got}"
    raise UserError("conflict" if formats else "missing", directory, text)
  files: dict[str, pathlib.Path] = {}
  for path in paths:
    word = records.plain_word(records.class_name(path))
    if word in files:
      text = f"expected a file a class, got {files[word].name} and {path.name}"
      raise UserError("conflict", directory, text)
    files[word] = path
    try:
      file_rules.check_regular(path)
    except OSError as error:  # a broken link
      text = f"cannot be read: {error.strerror}"
      raise UserError("missing", path, text) from error
  named = {records.class_name(path): path for path in paths}
  return dict(sorted(named.items()))


def read_class(
  path: pathlib.Path,
  max_per_class: int = 0,
  recognized_only: bool = False,
  on_error: str = "raise",
) -> ClassFile:
  """Reads the file of a class, of drawings or bitmaps.

  The other arguments are those of `load`.

  Memory: twice the packed drawings, of 2 bytes a point and 4 a stroke; 4,096
  drawings of 200 bytes, and 8 a stroke and point; and that of
  `records.read_file`. Bitmaps are mapped.

  Raises:
    UserError: a bad drawing unless it is skipped, or no good drawing.
  """
  if path.suffix.lower() == ".npy":
    rows = np.asarray(arrays.load_bitmap(path)[: max_per_class or None])
    image = rows.reshape(-1, 28, 28, 1)
    return ClassFile(Images(image), arrays.content_keys(rows), {}, {})
  keys, recognized = [], []
  skipped: collections.Counter[str] = collections.Counter()

  def good_drawings() -> Iterator[strokes.Drawing]:
    remedy = "; fix it, or set data.on_error=skip"
    for item in records.read_file(path, on_error == "skip", remedy):
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


def count_repeated(key: np.ndarray) -> int:
  """Returns how many drawings have the key of an earlier one."""
  return len(key) - len(np.unique(key))


def warn_repeated(place: object, count: int) -> None:
  """Logs a warning if keys are repeated."""
  if count:
    text = "%s: %d drawings have the key of another, as copies have."
    logging.warning(text, place, count)


def add_counts(counts: Iterable[dict[str, int]]) -> dict[str, int]:
  """Returns the sums by key."""
  return dict(sum(map(collections.Counter, counts), collections.Counter()))


def _join(parts: list[ClassFile]) -> dict[str, np.ndarray]:
  """Returns the arrays of a dataset by the names of their files."""
  count = [len(part.key) for part in parts]
  rows = [{"key": part.key, **part.flags} for part in parts]
  return {
    **join_sources([part.source for part in parts])._asdict(),
    "label": np.repeat(np.arange(len(parts), dtype=np.int32), count),
    **jax.tree.map(lambda *x: np.concatenate(x), *rows),
  }


def to_dataset(
  arrays: Mapping[str, np.ndarray], class_names: Sequence[str]
) -> Dataset:
  """Builds a dataset of the arrays of an entry, by name."""
  kind = Strokes if "points" in arrays else Images
  return Dataset(
    source=kind(*(arrays[field] for field in kind._fields)),
    label=arrays["label"],
    key=arrays["key"],
    class_names=tuple(class_names),
    flags={name: arrays[name] for name in arrays.keys() & {"recognized"}},
  )
