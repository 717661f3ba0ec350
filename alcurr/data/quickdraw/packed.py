"""What `python -m alcurr.data prepare` has made, memory-mapped."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from alcurr.core.errors import UserError
from alcurr.data import cache
from alcurr.data.pool import Dataset, check_class_names, take
from alcurr.data.quickdraw import store
from alcurr.data.quickdraw.reader import choose_classes


def open_store(
  directory: str | pathlib.Path,
) -> tuple[Dataset, dict[str, Any]]:
  """A prepared store, memory-mapped and checked against its checksums.

  Memory: pages of the files, which the system takes back when it needs to.

  Returns:
    The dataset, and the manifest: "classes" (drawings by class), "files",
    "skipped" (by reason), "skipped_in" (the same by class), "versions".

  Raises:
    UserError: no store, or one that is damaged.
  """
  directory = pathlib.Path(directory)
  if not (directory / cache.MANIFEST).is_file():
    raise UserError(
      f"{directory} holds no prepared data; make it with python -m alcurr.data "
      "prepare."
    )
  try:
    mapped, manifest = cache.read_sealed(directory, mmap_mode="r")
    arrays = {name: np.asarray(array) for name, array in mapped.items()}
    names = tuple(manifest["classes"])
    return store.to_dataset(arrays, manifest["kind"], names), manifest
  except (*cache.UNREADABLE, AttributeError) as error:
    raise UserError(
      f"{directory}: the prepared data is damaged ({error}); delete it and "
      "prepare it again."
    ) from error


def load(
  directory: str | pathlib.Path,
  *,
  classes: str | int | Sequence[str] = "all",
  max_per_class: int = 0,
  recognized_only: bool = False,
) -> Dataset:
  """A prepared store, or some of it; see `quickdraw.load`.

  Memory: 8 bytes a drawing, and of a choice what is chosen; the rest is mapped.

  Raises:
    UserError: no good store, an unknown class, or one left without drawings.
  """
  dataset, _ = open_store(directory)
  return choose(
    dataset,
    directory,
    classes=classes,
    max_per_class=max_per_class,
    recognized_only=recognized_only,
  )


def choose(
  dataset: Dataset,
  where: object,
  *,
  classes: str | int | Sequence[str],
  max_per_class: int,
  recognized_only: bool,
) -> Dataset:
  """Some of a dataset whose labels are sorted; see `quickdraw.load`.

  Args:
    dataset: the whole; itself, if all of it is chosen.
    where: it is from, for messages.
    classes: as there, and so are the others.

  Raises:
    UserError: an unknown class, or one left without drawings.
  """
  known = dataset.class_names
  names = choose_classes(known, classes)
  check_class_names(names)
  if recognized_only and "recognized" not in dataset.flags:
    raise UserError(
      f"{where}: bitmaps do not say which drawings were recognized; leave "
      "recognized_only off."
    )
  # A class is a range.
  start = np.searchsorted(dataset.label, np.arange(len(known) + 1))
  parts = []
  for name in names:
    first, last = start[known.index(name) :][:2]
    index = np.arange(first, last)
    if recognized_only:
      index = index[dataset.flags["recognized"][first:last]]
    index = index[: max_per_class or None]
    if not len(index):
      raise UserError(
        f"{where}: class {name!r} has no usable drawing; leave it out."
      )
    parts.append(index)
  chosen = np.concatenate(parts)
  if len(chosen) == len(dataset.label):
    return dataset
  renumber = np.zeros(len(known), np.int32)
  renumber[[known.index(name) for name in names]] = np.arange(len(names))
  part = take(dataset, chosen)
  return part._replace(label=renumber[part.label], class_names=tuple(names))
