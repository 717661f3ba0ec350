"""Datasets of drawings as entries of `alcurr.data.cache`.

The reader's cache and the stores of `python -m alcurr.data prepare` have a
manifest, and a file for each array of `to_arrays`.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alcurr.core.errors import UserError
from alcurr.data import cache
from alcurr.data.pool import Dataset, choose_classes, take
from alcurr.types import Images, Strokes

_KINDS = {"Strokes": Strokes, "Images": Images}


def to_arrays(dataset: Dataset) -> dict[str, np.ndarray]:
  """Returns a dataset's arrays by the names of their files."""
  return {
    **dataset.source._asdict(),
    "label": dataset.label,
    "key": dataset.key,
    **dataset.flags,
  }


def to_dataset(
  arrays: Mapping[str, np.ndarray], kind: str, class_names: tuple[str, ...]
) -> Dataset:
  """Inverts `to_arrays`; `kind` of source is "Strokes" or "Images"."""
  source = _KINDS[kind]
  return Dataset(
    source=source(**{field: arrays[field] for field in source._fields}),
    label=arrays["label"],
    key=arrays["key"],
    class_names=class_names,
    flags={k: arrays[k] for k in ("recognized",) if k in arrays},
  )


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
  directory = pathlib.Path(directory)
  if not (directory / cache.MANIFEST).is_file():
    text = "no prepared data; make it with python -m alcurr.data prepare"
    raise UserError("missing", directory, text)
  try:
    mapped, manifest = cache.read_checked(directory, mmap_mode="r")
    arrays = {name: np.asarray(array) for name, array in mapped.items()}
    names = tuple(manifest["classes"])
    dataset = to_dataset(arrays, manifest["kind"], names)
    # The checksums were just verified; another hash would read all again.
    content = {k: manifest[k] for k in ("checksums", "kind", "classes")}
    return dataset._replace(content=cache.digest(content)), manifest
  except cache.UNREADABLE as error:
    text = f"{error}; delete it and prepare it again"
    raise UserError("damaged", directory, text) from error


def load(
  directory: str | pathlib.Path,
  *,
  classes: str | int | Sequence[str] = "all",
  max_per_class: int = 0,
  recognized_only: bool = False,
) -> Dataset:
  """Loads a prepared store, or a part of it.

  The arguments and errors are those of `reader.load` and `open_store`.

  Memory: 8 bytes a drawing, and the drawings of a part; the whole is mapped.
  """
  dataset, _ = open_store(directory)
  return choose(dataset, directory, classes, max_per_class, recognized_only)


def choose(
  dataset: Dataset,
  where: str | pathlib.Path,
  classes: str | int | Sequence[str],
  max_per_class: int,
  recognized_only: bool,
) -> Dataset:
  """Returns a part of a dataset of ascending labels, or the dataset itself.

  Errors name its origin, `where`. The other arguments are those of
  `reader.load`.

  Raises:
    UserError: an unknown or empty class, or recognized_only for bitmaps.
  """
  known = dataset.class_names
  names = choose_classes(known, classes)
  if recognized_only and "recognized" not in dataset.flags:
    raise UserError("conflict", "recognized_only", "bitmaps have no such flag")
  number = [known.index(name) for name in names]
  start = np.searchsorted(dataset.label, np.arange(len(known) + 1))
  parts = []
  for name, label in zip(names, number, strict=True):
    first, last = start[label : label + 2]
    index = np.arange(first, last)
    if recognized_only:
      index = index[dataset.flags["recognized"][first:last]]
    index = index[: max_per_class or None]
    if not len(index):
      raise UserError("data", where, f"class {name!r} has no usable drawing")
    parts.append(index)
  chosen = np.concatenate(parts)
  if len(chosen) == len(dataset.label):
    return dataset
  renumber = np.zeros(len(known), np.int32)
  renumber[number] = np.arange(len(names))
  part = take(dataset, chosen)
  return part._replace(label=renumber[part.label], class_names=tuple(names))
