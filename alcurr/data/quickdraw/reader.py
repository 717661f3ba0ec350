"""Reads a folder of Quick, Draw! files, as Google and Kaggle published them.

They are <class>.ndjson, simplified or raw, <class>.bin, Kaggle's <class>.csv,
or 28x28 bitmaps <class>.npy; all but bitmaps may end in .gz. Names of Google's
bucket such as full_binary_<class>.bin are understood too. A file by itself may
hold several classes, each drawing with its `word`.
"""

import collections
import functools
import pathlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from alcurr.core import files as file_rules
from alcurr.core import paths, specs
from alcurr.core.errors import UserError
from alcurr.data import array_files, arrays, cache, parallel, strokes
from alcurr.data.pool import (
  Dataset,
  choose_classes,
  take_source,
)
from alcurr.data.quickdraw import by_class, items, records, stroke_forms
from alcurr.types import Images

_VERSION = 8  # of the cache's content; another one is not read


def load(
  directory: str | pathlib.Path,
  *,
  classes: str | int | Collection[str] = "all",
  max_per_class: int = 0,
  recognized_only: bool = False,
  on_error: str = "raise",
  stroke_form: str = "",
  max_bytes: int = items.MAX_BYTES,
  cache_dir: str | pathlib.Path | None = None,
) -> tuple[Dataset, dict[str, Any]]:
  """Reads a directory or a file, or its packed form from the cache.

  The order is by class name, then as in the file. Large directories are read
  by several processes, so scripts need `if __name__ == "__main__":`.

  Args:
    directory: files of one format, each named by its class; or one file.
    classes: see `alcurr.data.pool.choose_classes`.
    max_per_class: the first drawings of each class; 0 for all.
    recognized_only: omits drawings with `recognized: false`; not for bitmaps.
    on_error: "raise" at the first bad drawing, or "skip" and count them.
    stroke_form: "rows", [[x, ...], [y, ...]], or "points", [[x, y], ...], of
      all strokes. "": each file's own, unless all of its strokes may be both.
    max_bytes: limit of the content of a .gz file.
    cache_dir: where packed data is saved; None saves nothing.

  Returns:
    The dataset, and a report: "classes" (drawings by class), "skipped"
    (by reason), "cached" (whether the data came from the cache).

  Raises:
    UserError: nothing to read, an unknown class, a bad drawing or file.
  """
  specs.check_choice("on_error", on_error, ("raise", "skip"))
  specs.check_range("max_per_class", max_per_class, 0)
  stroke_forms.check(stroke_form)
  directory = paths.absolute(directory, "dir")
  files = find(directory)
  one_file = len(files) == 1
  if not one_file:
    files = {name: files[name] for name in choose_classes([*files], classes)}
  names = [] if one_file else [*files]
  is_bitmap = items.ending(next(iter(files.values()))) == ".npy"
  if recognized_only and is_bitmap:
    raise UserError("conflict", "recognized_only", "bitmaps have no such flag")
  choice = {
    "max_per_class": max_per_class,
    "recognized_only": recognized_only,
    "on_error": on_error,
    "stroke_form": stroke_form,
    "max_bytes": max_bytes,
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
    parts = read_files(files, **choice)
    packed = by_class.join([*parts.values()])
    manifest = {
      "request": request,
      "files": fingerprint,
      "names": [*parts],
      "drawings": len(packed["label"]),
      "skipped": by_class.add_counts(part.skipped for part in parts.values()),
    }
    if entry:
      cache.write_arrays(entry, packed, manifest)
  file_names = [path.name for path in files.values()]
  dataset = by_class.to_dataset(packed, manifest["names"], file_names)
  if one_file:
    dataset = by_class.choose(dataset, directory, classes)
  by_class.warn_repeated(directory, by_class.count_repeated(dataset.key))
  names = dataset.class_names
  count = np.bincount(dataset.label, minlength=len(names)).tolist()
  return dataset, {
    "classes": dict(zip(names, count, strict=True)),
    "skipped": manifest["skipped"],
    "cached": cached,
  }


def read_files(
  files: Mapping[str, pathlib.Path], **choice: Any
) -> dict[str, by_class.ClassFile]:
  """Reads the files that `find` found; returns the classes by name, sorted.

  A file by itself may hold several. For `choice` see `read_class`.

  Raises:
    UserError: as `load`.
  """
  if len(files) == 1:
    (path,) = files.values()
    return _read_words(path, **choice)
  read = functools.partial(read_class, **choice)
  parts = parallel.each_file(read, [*files.values()], "reading")
  return dict(zip(files, parts, strict=True))


def find(directory: pathlib.Path) -> dict[str, pathlib.Path]:
  """Returns the files by class name, sorted.

  Raises:
    UserError: no files, several formats, two files of a class, what is not a
      regular file, or a prepared store.
  """
  try:
    is_file = directory.is_file()
    paths = [directory] if is_file else sorted(directory.iterdir())
  except OSError as error:  # missing, a file, no access, a name too long
    text = f"cannot be listed: {error.strerror}"
    raise UserError("missing", directory, text) from error
  if (directory / cache.MANIFEST) in paths:
    text = "holds prepared data; read it with data.source=prepared"
    raise UserError("conflict", directory, text)
  endings = (*records.FORMATS, ".npy")
  with_dot = tuple(f"{suffix}." for suffix in endings)
  paths = [
    path
    for path in paths
    if f"{items.ending(path)}.".startswith(with_dot)
    and not file_rules.is_left_by_tools(path.name)
  ]
  formats = sorted({*map(items.ending, paths)})
  if len(formats) > 1 and ".json" in formats:  # more likely about the others
    formats.remove(".json")
    paths = [path for path in paths if items.ending(path) in formats]
  if len(formats) != 1 or formats[0] not in endings:
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
  **options: Any,
) -> by_class.ClassFile:
  """Reads the file of a class, of drawings or bitmaps.

  The other arguments are those of `load`, and the fields of `records.Options`.

  Memory: twice the packed drawings, of 2 bytes a point and 4 a stroke; 4,096
  drawings of 200 bytes, and 8 a stroke and point; and that of
  `records.read_file`. Bitmaps are mapped.

  Raises:
    UserError: a bad drawing unless it is skipped, or no good drawing.
  """
  if items.ending(path) == ".npy":
    rows = np.asarray(array_files.load_bitmap(path)[: max_per_class or None])
    image = rows.reshape(-1, 28, 28, 1)
    places = {"row": np.arange(len(rows), dtype=by_class.PLACES["row"])}
    return by_class.ClassFile(
      Images(image), arrays.content_keys(rows), {}, {}, places
    )
  part, _ = _read_drawings(path, True, max_per_class, recognized_only, options)
  return part


def _read_drawings(
  path: pathlib.Path,
  one_word: bool,
  max_per_class: int,
  recognized_only: bool,
  options: Mapping[str, Any],
) -> tuple[by_class.ClassFile, list[str]]:
  """Returns the drawings of a file and the word of each, which may be ""."""
  keys, recognized, words, lines, key_ids = [], [], [], [], []
  spelling: dict[str, str] = {}
  skipped: collections.Counter[str] = collections.Counter()
  options = records.Options(**options)

  def good_drawings() -> Iterator[strokes.Drawing]:
    count: collections.Counter[str] = collections.Counter()
    for item in records.read_file(path, options, one_word=one_word):
      if isinstance(item, strokes.BadDrawingError):
        skipped[item.reason] += 1
      elif item.recognized or not recognized_only:
        word = "" if one_word else records.plain_word(item.word)
        count[word] += 1
        if max_per_class and count[word] > max_per_class:
          if one_word:
            return
          continue
        spelling.setdefault(word, item.word.strip())
        keys.append(records.key_hash(item))
        lines.append(item.line)
        key_ids.append(by_class.key_number(item.key_id))
        recognized.append(item.recognized)
        words.append(word)
        yield item.drawing

  source = strokes.pack(good_drawings())
  if not keys:
    raise UserError("data", path, "the class has no usable drawing")
  flags = {"recognized": np.array(recognized)}
  key = np.array(keys, np.uint64)
  places = {"line": lines, "key_id": key_ids}
  places = {n: np.array(x, by_class.PLACES[n]) for n, x in places.items()}
  part = by_class.ClassFile(source, key, flags, dict(skipped), places)
  return part, [spelling[word] for word in words]


def _read_words(
  path: pathlib.Path,
  max_per_class: int = 0,
  recognized_only: bool = False,
  **options: Any,
) -> dict[str, by_class.ClassFile]:
  """Reads the classes of a file by itself, where each drawing has its word."""
  name = records.class_name(path)
  if items.ending(path) in (".npy", ".bin"):
    return {name: read_class(path, max_per_class, recognized_only, **options)}
  part, words = _read_drawings(
    path, False, max_per_class, recognized_only, options
  )
  rows = collections.defaultdict(list)
  for row, word in enumerate(words):
    rows[word].append(row)
  names = by_class.name_words(path, collections.Counter(words))
  parts = {}
  for word, index in rows.items():
    take = functools.partial(np.take, indices=index, axis=0)
    parts[names[word]] = by_class.ClassFile(
      take_source(part.source, np.array(index)),
      take(part.key),
      jax.tree.map(take, part.flags),
      {} if parts else part.skipped,  # the counts are of the whole file
      jax.tree.map(take, part.places),
    )
  return dict(sorted(parts.items()))
