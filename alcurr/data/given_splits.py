"""Splits that the user gives, instead of examples held out of the data.

Each is read like the data, from a place of its own, and used as it is. The
other splits are held out of the data.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from absl import logging

from alcurr.core.errors import UserError
from alcurr.data import cache, joined
from alcurr.data.pool import Dataset, content_hash, join_sources
from alcurr.data.render import Render
from alcurr.data.splitting import warn_of_lacking_classes
from alcurr.types import Images, Stored

GIVEN = ("valid", "test", "probe")
# The splits that each is compared with for common examples.
_COMPARED = {
  "valid": ("train", "probe"),
  "test": ("train", "probe", "valid"),
  "probe": ("train",),
}
# Settings that choose or change examples, and so are of the data alone.
_OF_THE_DATA = {"max_per_class": 0, "share": 1.0, "groups": "", "sources": {}}


def names(config: Mapping[str, Any]) -> tuple[str, ...]:
  """Returns the splits that `config.data` gives a place of their own."""
  return tuple(name for name in GIVEN if config[f"{name}_dir"])


def has_probe(config: Mapping[str, Any]) -> bool:
  """Returns whether `config.data` describes a probe split."""
  return bool(config["probe_dir"] or config["probe_fraction"])


def check(config: Mapping[str, Any]) -> None:
  """Refuses places of splits that do not fit the other settings."""
  if config["source"] == "synthetic" and (given := names(config)):
    text = "expected none of generated data; set data.source to their kind"
    raise UserError("conflict", f"data.{given[0]}_dir", text)
  if config["probe_dir"] and config["probe_fraction"]:
    text = "expected no data.probe_fraction with it"
    raise UserError("conflict", "data.probe_dir", text)


def read(
  config: Mapping[str, Any],
  dataset: Dataset,
  read_split: Callable[[Mapping[str, Any], str], Dataset],
) -> dict[str, Dataset]:
  """Reads the given splits, with the classes of the data.

  Args:
    config: `config.data`.
    dataset: the data, whose classes and images the splits must have.
    read_split: reads what a config describes, whose fields are at a place.

  Raises:
    UserError: a split cannot be read, or has a class that the data lacks.
  """
  # Names, since the first classes of a split may be others; it may lack some.
  is_all = config["classes"] == "all"
  classes = "all" if is_all else frozenset(dataset.class_names)
  found = {}
  for name in names(config):
    place = f"{name}_dir"
    changes = {"dir": config[place], "split": name, "classes": classes}
    part = read_split({**config, **_OF_THE_DATA, **changes}, f"data.{place}")
    found[name] = _with_classes(part, dataset.class_names, f"data.{place}")
    warn_of_lacking_classes(name, found[name])
  return found


def _with_classes(
  part: Dataset, class_names: tuple[str, ...], place: str
) -> Dataset:
  """Numbers the labels of a split as those of the data."""
  used = np.unique(part.label)
  used_names = [part.class_names[i] for i in used]
  number = {name: i for i, name in enumerate(class_names)}
  # Whole numbers are of classes whose names the data has.
  if not any(name.isdecimal() for name in class_names):
    number |= {str(i): i for i in range(len(class_names))}
  if unknown := [name for name in used_names if name not in number]:
    few = ", ".join(map(repr, unknown[:3])) + ", ..." * (len(unknown) > 3)
    text = f"expected classes of the training data, got {few} too"
    raise UserError("data", place, text)
  table = np.zeros(len(part.class_names), np.int32)
  table[used] = [number[name] for name in used_names]
  return part._replace(
    label=table[part.label],
    class_names=class_names,
    groups=None,
    group_names=(),
    paths=None,
  )


def of_one_kind(
  dataset: Dataset, given: Mapping[str, Dataset], render: Render
) -> tuple[Dataset, dict[str, Dataset]]:
  """Gives the data and the splits images, or drawings, of one type and shape.

  Raises:
    UserError: images of another size or other channels than the data's.
  """
  if not given:
    return dataset, {}
  places = {f"data.{name}_dir": part.source for name, part in given.items()}
  sources = {"the training data": dataset.source, **places}
  # A folder of grey images may belong to one with colours.
  if all(isinstance(source, Images) for source in sources.values()):
    most = max(source.image.shape[-1] for source in sources.values())
    if most == 3:
      sources = {
        place: Images(np.repeat(source.image, 3, -1))
        if source.image.shape[-1] == 1
        else source
        for place, source in sources.items()
      }
  first, *others = joined.of_one_kind(sources, render)
  parts = zip(given.items(), others, strict=True)
  return dataset._replace(source=first), {
    name: part._replace(source=source) for (name, part), source in parts
  }


def hash_all(dataset: Dataset, given: Mapping[str, Dataset]) -> str:
  """Returns a hash of the data and of the given splits."""
  whole = content_hash(dataset)
  if not given:
    return whole
  of_splits = {name: content_hash(part) for name, part in given.items()}
  return cache.digest({"data": whole, **of_splits})


def store(
  dataset: Dataset, given: Mapping[str, Dataset]
) -> tuple[Any, Dataset, dict[str, Dataset]]:
  """Returns the source of all examples, and the datasets as rows of it."""
  every = [dataset, *given.values()]
  source = dataset.source  # perhaps mapped, and then not read
  if given:
    source = join_sources([part.source for part in every])
  end = np.cumsum([len(part.label) for part in every])
  rows = [
    part._replace(
      source=Stored(np.arange(stop - len(part.label), stop, dtype=np.int32))
    )
    for part, stop in zip(every, end, strict=True)
  ]
  return source, rows[0], dict(zip(given, rows[1:], strict=True))


def check_copies(parts: Mapping[str, Dataset], given: Collection[str]) -> None:
  """Logs how many examples are in another split too, by their keys.

  Splits that are not given have no example in common. A given probe may consist
  of training examples, since their labels may be trusted.

  Raises:
    UserError: all examples of a given valid or test split are of the data.
  """
  own = [part.key for name, part in parts.items() if name not in given]
  for name in ("valid", "test", "probe"):
    if name not in parts:
      continue
    key, size = parts[name].key, len(parts[name].key)
    evaluates = name in given and name != "probe"
    if evaluates and np.isin(key, np.concatenate(own)).all():
      text = f"expected examples that are not trained on, got none of {size}"
      raise UserError("data", f"data.{name}_dir", text)
    for other in _COMPARED[name]:
      if other not in parts or not {name, other} & {*given}:
        continue
      if count := int(np.isin(key, parts[other].key).sum()):
        text = "%d of %d examples of the split %s are in the split %s too."
        logging.warning(text, count, size, name, other)
