"""Datasets of drawings or bitmaps, class by class."""

import collections
import pathlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from absl import logging

from alcurr.core.errors import UserError
from alcurr.data.pool import (
  Dataset,
  Locate,
  choose_classes,
  join_sources,
  take,
)
from alcurr.data.quickdraw import records
from alcurr.types import Images, Strokes


class ClassFile(NamedTuple):
  """The n drawings of one class."""

  source: Strokes | Images
  key: np.ndarray  # [n] uint64
  flags: dict[str, np.ndarray]  # recognized: [n] bool, but for bitmaps
  skipped: dict[str, int]  # bad drawings by reason
  # Where each is in its file, by the names of PLACES: [n] each
  places: dict[str, np.ndarray]


# Arrays that say where a drawing is: the line of its file, or the number of its
# record, from 1; its key_id, 0 if it is no number; or the row of a bitmap.
PLACES = {"line": np.uint32, "key_id": np.uint64, "row": np.uint32}


def key_number(key_id: str | None) -> int:
  """Returns a drawing's key if it is a number of 64 bits, else 0."""
  return int(key_id) if re.fullmatch("[1-9][0-9]{,18}", key_id or "") else 0


def name_words(path: pathlib.Path, count: Mapping[str, int]) -> dict[str, str]:
  """Returns the class of each word of a file by itself, by word.

  Two spellings of a word are one class, named as the file is or else as the
  first of them. Drawings without any word are of the file's class.

  Args:
    path: the file.
    count: drawings by word, in the file's order; "" for those without one.

  Raises:
    UserError: some drawings have a word and some have none.
  """
  plain = {word: records.plain_word(word) for word in count}
  without = sum(count[word] for word in count if not plain[word])
  if without and any(plain.values()):
    raise UserError("data", path, f"{without} drawings have no word")
  name = records.class_name(path)
  names = {records.plain_word(name): name, "": name}
  for word in count:
    names.setdefault(plain[word], word)
  return {word: names[plain[word]] for word in count}


def join(parts: list[ClassFile]) -> dict[str, np.ndarray]:
  """Returns the arrays of a dataset by the names of their files."""
  count = [len(part.key) for part in parts]
  rows = [{"key": part.key, **part.flags, **part.places} for part in parts]
  return {
    **join_sources([part.source for part in parts])._asdict(),
    "label": np.repeat(np.arange(len(parts), dtype=np.int32), count),
    **jax.tree.map(lambda *x: np.concatenate(x), *rows),
  }


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


def to_dataset(
  arrays: Mapping[str, np.ndarray],
  class_names: Sequence[str],
  file_names: Sequence[str],
) -> Dataset:
  """Builds a dataset of the arrays of an entry, by name.

  `file_names` has the file of each class, or the one file of all.
  """
  kind = Strokes if "points" in arrays else Images
  return Dataset(
    source=kind(*(arrays[field] for field in kind._fields)),
    label=arrays["label"],
    key=arrays["key"],
    class_names=tuple(class_names),
    flags={name: arrays[name] for name in arrays.keys() & {"recognized"}},
    locate=_make_locate(arrays, file_names),
  )


def _make_locate(
  arrays: Mapping[str, np.ndarray], file_names: Sequence[str]
) -> Locate:
  """Returns the function that finds drawings in their files."""
  files, label = np.array(file_names), arrays["label"]

  def locate(row: np.ndarray) -> dict[str, np.ndarray]:
    file = label[row] if len(files) > 1 else np.zeros_like(row)
    columns = {"file": files[file]}
    for name in PLACES.keys() & arrays.keys():
      columns[name] = arrays[name][row]
    if "key_id" in columns:
      key = columns.pop("key_id")
      columns["key"] = np.where(key > 0, key.astype(str), "")
    return columns if len(columns) > 1 else {"index": row}

  return locate


def choose(
  dataset: Dataset,
  where: str | pathlib.Path,
  classes: str | int | Collection[str],
  max_per_class: int = 0,
  recognized_only: bool = False,
) -> Dataset:
  """Returns a part of a dataset of ascending labels, or the dataset itself.

  Errors name its origin, `where`. The other arguments are those of
  `load`.

  Raises:
    UserError: an unknown or empty class, or recognized_only for bitmaps.
  """
  known = dataset.class_names
  names = choose_classes(known, classes)
  if recognized_only and "recognized" not in dataset.flags:
    raise UserError("conflict", "recognized_only", "bitmaps have no such flag")
  start = np.searchsorted(dataset.label, np.arange(len(known) + 1))
  parts = []
  for label in map(known.index, names):
    index = np.arange(*start[label : label + 2])
    if recognized_only:
      index = index[dataset.flags["recognized"][index]]
    parts.append(index[: max_per_class or None])
    if not len(index):
      text = f"class {known[label]!r} has no usable drawing"
      raise UserError("data", where, text)
  count = [len(part) for part in parts]
  if sum(count) == len(dataset.label):
    return dataset
  label = np.repeat(np.arange(len(names), dtype=np.int32), count)
  part = take(dataset, np.concatenate(parts))
  return part._replace(label=label, class_names=tuple(names))
