"""Reads a folder of Quick, Draw! files, as Google and Kaggle published them.

They are <class>.ndjson, simplified or raw, <class>.bin, Kaggle's <class>.csv,
or 28x28 bitmaps <class>.npy. Names of Google's bucket such as
full_binary_<class>.bin are understood too. Files are read once, in parallel,
then from the cache.
"""

import functools
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from alcurr.core.errors import UserError
from alcurr.data import cache, parallel
from alcurr.data.pool import Dataset, choose_classes, join_sources
from alcurr.data.quickdraw import class_files, packed

_PREFIX = re.compile("^full_(simplified|raw|binary|numpy_bitmap)_")
_VERSION = 5  # of the cache's content; another one is not read


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
  if on_error not in ("raise", "skip"):
    text = f"expected raise or skip, got {on_error!r}"
    raise UserError("unknown", "on_error", text)
  if max_per_class < 0:
    text = f"expected >= 0, got {max_per_class}"
    raise UserError("range", "max_per_class", text)
  directory = pathlib.Path(directory)
  files = find(directory)
  names = choose_classes(list(files), classes)
  files = {name: files[name] for name in names}
  if recognized_only and files[names[0]].suffix == ".npy":
    raise UserError("conflict", "recognized_only", "bitmaps have no such flag")
  request = {
    "version": _VERSION,
    "directory": str(directory.resolve()),
    "classes": names,
    "max_per_class": max_per_class,
    "recognized_only": recognized_only,
    "on_error": on_error,
  }
  entry = saved = None
  if cache_dir is not None:
    entry = pathlib.Path(cache_dir) / f"quickdraw-{cache.digest(request)}"
    saved = cache.read_arrays(entry)
  cached = bool(saved) and cache.unchanged(files, saved[1]["files"])
  if cached:
    arrays, manifest = saved
  else:
    read = functools.partial(
      class_files.read_class,
      max_per_class=max_per_class,
      recognized_only=recognized_only,
      skip=on_error == "skip",
    )
    fingerprint = cache.fingerprint(files) if entry else {}
    parts = parallel.each_file(read, list(files.values()), "reading")
    arrays = _join(parts)
    manifest = {
      "request": request,
      "files": fingerprint,
      "drawings": len(arrays["label"]),
      "skipped": class_files.add_counts(part.skipped for part in parts),
      "kind": type(parts[0].source).__name__,
    }
    if entry:
      cache.write_arrays(entry, arrays, manifest)
  dataset = packed.to_dataset(arrays, names)
  count = np.bincount(dataset.label, minlength=len(names)).tolist()
  return dataset, {
    "classes": dict(zip(names, count, strict=True)),
    "skipped": manifest["skipped"],
    "cached": cached,
  }


def find(directory: pathlib.Path) -> dict[str, pathlib.Path]:
  """Returns the files by class name, sorted.

  Raises:
    UserError: no files, several formats, two files of a class, or a prepared
      store.
  """
  try:
    paths = [path for path in directory.iterdir() if path.is_file()]
  except OSError as error:  # missing, a file, no access, a name too long
    text = f"cannot be listed: {error.strerror}"
    raise UserError("missing", directory, text) from error
  if (directory / cache.MANIFEST) in paths:
    text = "holds prepared data; read it with data.source=prepared"
    raise UserError("conflict", directory, text)
  endings = (*class_files.FORMATS, ".npy")
  paths = sorted(path for path in paths if path.suffix in endings)
  formats = sorted({path.suffix for path in paths})
  if len(formats) != 1:
    expected, got = " or ".join(endings), ", ".join(formats) or "none"
    text = f"expected <class>{expected} files of one format, got {got}"
    raise UserError("conflict" if formats else "missing", directory, text)
  files: dict[str, pathlib.Path] = {}
  for path in paths:
    name = _PREFIX.sub("", path.stem)
    if name in files:
      text = f"expected a file a class, got {files[name].name} and {path.name}"
      raise UserError("conflict", directory, text)
    files[name] = path
  return dict(sorted(files.items()))


def _join(parts: list[class_files.ClassFile]) -> dict[str, np.ndarray]:
  """Returns the arrays of a dataset by the names of their files."""
  count = [len(part.key) for part in parts]
  return {
    **join_sources([part.source for part in parts])._asdict(),
    "label": np.repeat(np.arange(len(parts), dtype=np.int32), count),
    "key": np.concatenate([part.key for part in parts]),
    **{
      name: np.concatenate([part.flags[name] for part in parts])
      for name in parts[0].flags
    },
  }
