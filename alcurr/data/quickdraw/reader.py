"""A directory of Quick, Draw! files, as Google and Kaggle published them.

<class>.ndjson, simplified or raw (told apart drawing by drawing), <class>.bin,
Kaggle's <class>.csv, or 28x28 bitmaps <class>.npy, each also under the name
that Google's bucket saves it as, such as full_binary_<class>.bin. Read once,
in parallel, then from the cache.
"""

import difflib
import functools
import pathlib
import re
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from alcurr.core.errors import UserError
from alcurr.data import cache, parallel
from alcurr.data.pool import Dataset, check_class_names
from alcurr.data.quickdraw import store, strokes
from alcurr.data.quickdraw.class_files import (
  FORMS,
  ClassFile,
  read_class,
  total,
)
from alcurr.types import Images, Strokes

_PREFIX = re.compile("^full_(simplified|raw|binary|numpy_bitmap)_")
_VERSION = 5  # of what the cache holds; a new one makes every entry anew


def load(
  directory: str | pathlib.Path,
  *,
  classes: str | int | Sequence[str] = "all",
  max_per_class: int = 0,
  recognized_only: bool = False,
  on_error: str = "raise",
  cache_dir: str | pathlib.Path | None = None,
) -> tuple[Dataset, dict[str, Any]]:
  """Reads a directory, or finds it packed in the cache.

  The order is by class name, then as in the file, whatever the parallelism.
  Large directories are read by several processes: a script of your own that
  calls this needs the usual `if __name__ == "__main__":`.

  Args:
    directory: of files of one form, one for each class, which they name.
    classes: "all"; a number, for the first classes by name; or names, as a
      sequence or separated by commas.
    max_per_class: the first so many of each class; 0 for all.
    recognized_only: leave out drawings with `recognized: false`; not for
      bitmaps, which do not say.
    on_error: "raise" at the first bad drawing, or "skip" and count them.
    cache_dir: where packed data is kept; None for nowhere.

  Returns:
    The dataset, and a report: "classes" (drawings by class), "skipped"
    (by reason), "seconds", "cached" (whether it was).

  Raises:
    UserError: nothing to read, an unknown class, a bad drawing or file.
  """
  if on_error not in ("raise", "skip"):
    raise UserError(f"on_error must be raise or skip, got {on_error!r}.")
  if max_per_class < 0:
    raise UserError(f"max_per_class must not be negative, got {max_per_class}.")
  started = time.perf_counter()
  directory = pathlib.Path(directory)
  files = find(directory)
  names = choose_classes(sorted(files), classes)
  check_class_names(names)
  files = {name: files[name] for name in names}
  if recognized_only and files[names[0]].suffix == ".npy":
    raise UserError(
      f"{directory}: bitmap files do not say which drawings were recognized; "
      "leave recognized_only off."
    )
  request = {
    "version": _VERSION,
    "directory": str(directory.resolve()),
    "classes": names,
    "max_per_class": max_per_class,
    "recognized_only": recognized_only,
    "on_error": on_error,
  }
  entry = None
  if cache_dir is not None:
    entry = pathlib.Path(cache_dir) / f"quickdraw-{cache.digest(request)}"
  found = entry and _from_cache(entry, files)
  if found:
    dataset, skipped = found
  else:
    read = functools.partial(
      read_class,
      max_per_class=max_per_class,
      recognized_only=recognized_only,
      skip=on_error == "skip",
    )
    # Before reading: a file that changes meanwhile must not pass as read.
    vouched = cache.vouch(files) if entry else {}
    parts = parallel.each_file(read, list(files.values()), "reading")
    dataset, skipped = _merge(names, parts)
    if entry:
      _to_cache(entry, request, vouched, dataset, skipped)
  count = np.bincount(dataset.label, minlength=len(names)).tolist()
  return dataset, {
    "classes": dict(zip(names, count, strict=True)),
    "skipped": skipped,
    "seconds": time.perf_counter() - started,
    "cached": bool(found),
  }


def find(directory: pathlib.Path) -> dict[str, pathlib.Path]:
  """The files by class name.

  Raises:
    UserError: none, of several forms, two of a class, or prepared data.
  """
  try:
    paths = [path for path in directory.iterdir() if path.is_file()]
  except FileNotFoundError as error:
    raise UserError(f"{directory}: no such directory.") from error
  except OSError as error:  # a file, no access, a name too long
    raise UserError(
      f"{directory}: cannot be listed ({error.strerror}); name a folder that "
      "can."
    ) from error
  if (directory / cache.MANIFEST) in paths:
    raise UserError(
      f"{directory} holds prepared data; read it with data.source=prepared."
    )
  paths = sorted(path for path in paths if path.suffix in (*FORMS, ".npy"))
  forms = sorted({path.suffix for path in paths})
  if not forms:
    raise UserError(
      f"{directory} holds no <class>.ndjson, .csv, .bin or bitmap .npy files."
    )
  if len(forms) > 1:
    raise UserError(
      f"{directory} holds both {forms[0]} and {forms[1]} files; keep them "
      "apart."
    )
  files: dict[str, pathlib.Path] = {}
  for path in paths:
    name = _PREFIX.sub("", path.stem)
    if name in files:
      raise UserError(
        f"{directory}: {files[name].name} and {path.name} are of one class; "
        "keep one of them."
      )
    files[name] = path
  return files


def choose_classes(
  known: Sequence[str], classes: str | int | Sequence[str]
) -> list[str]:
  """The names that a choice of classes means, sorted.

  Args:
    known: all names, sorted.
    classes: as in `load`.
  """
  if isinstance(classes, str) and classes.strip().isdecimal():
    classes = int(classes)
  if isinstance(classes, int):
    if not 2 <= classes <= len(known):
      raise UserError(
        f"classes must be from 2 to the {len(known)} there are, or all, got "
        f"{classes}."
      )
    return list(known[:classes])
  if classes == "all":
    return list(known)
  if isinstance(classes, str):
    classes = [n.strip() for n in classes.split(",") if n.strip()]
  if not len(classes):
    raise UserError('classes names none; write "all", a number, or names.')
  for name in classes:
    if name not in known:
      close = difflib.get_close_matches(str(name), known, n=1)
      hint = f"; did you mean {close[0]!r}?" if close else "."
      raise UserError(f"no class {name!r} among the {len(known)}{hint}")
  return sorted(set(classes))


def _merge(
  names: list[str], parts: list[ClassFile]
) -> tuple[Dataset, dict[str, int]]:
  """One dataset of all classes, and what was skipped in all."""
  flags = {}
  if isinstance(parts[0].source, Strokes):
    source = strokes.concatenate([part.source for part in parts])
    flags["recognized"] = np.concatenate([part.recognized for part in parts])
  else:
    source = Images(np.concatenate([part.source.image for part in parts]))
  count = [len(part.key) for part in parts]
  dataset = Dataset(
    source=source,
    label=np.repeat(np.arange(len(parts), dtype=np.int32), count),
    key=np.concatenate([part.key for part in parts]),
    class_names=tuple(names),
    flags=flags,
  )
  return dataset, total(part.skipped for part in parts)


def _to_cache(
  entry: pathlib.Path,
  request: dict[str, Any],
  vouched: dict[str, dict[str, Any]],
  dataset: Dataset,
  skipped: dict[str, int],
) -> None:
  manifest = {
    "request": request,
    "files": vouched,
    "drawings": len(dataset.label),
    "skipped": skipped,
    "kind": type(dataset.source).__name__,
  }
  cache.write_arrays(entry, store.to_arrays(dataset), manifest)


def _from_cache(
  entry: pathlib.Path, files: dict[str, pathlib.Path]
) -> tuple[Dataset, dict[str, int]] | None:
  """The packed dataset, if its files are still what they were."""
  found = cache.read_arrays(entry)
  if found is None:
    return None
  parts, manifest = found
  if not cache.unchanged(files, manifest["files"]):
    return None
  dataset = store.to_dataset(parts, manifest["kind"], tuple(files))
  return dataset, manifest["skipped"]
