"""Arrays that the user gives `alcurr.compare`, as files that a config names."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from alcurr.core.errors import UserError
from alcurr.data import arrays, score_files
from alcurr.experiments.config import build, plain
from alcurr.experiments.config.scores import DIFFICULTY

# The argument of each split, and the config field of its place.
_FIELDS = {
  "validation": "valid_dir",
  "test": "test_dir",
  "probe": "probe_dir",
}


class Given(NamedTuple):
  """The arguments of `alcurr.compare` that are arrays, or None."""

  images: Any
  labels: Any
  splits: dict[str, Any]  # (images, labels) by argument, or None
  class_names: Sequence[str] | None
  groups: Any
  scores: Mapping[str, Any] | None  # [N] by name


def check(given: Given) -> None:
  """Refuses arrays that lack others, before any is read.

  Raises:
    UserError: at the argument.
  """
  if (given.images is None) != (given.labels is None):
    missing = "images" if given.images is None else "labels"
    raise UserError("missing", missing, "give both images and labels, or none")
  fields = {"class_names": "data.classes", "groups": "data.groups"}
  fields |= {name: f"data.{field}" for name, field in _FIELDS.items()}
  values = {"class_names": given.class_names, "groups": given.groups}
  for name, value in (values | given.splits).items():
    if value is not None and given.images is None:
      text = f"expected images and labels too; of files, use {fields[name]}"
      raise UserError("conflict", name, text)
  for name, pair in given.splits.items():
    if pair is None:
      continue
    if not isinstance(pair, tuple | list) or len(pair) != 2:
      text = f"expected (images, labels), got a {type(pair).__name__}"
      if isinstance(pair, tuple | list):
        text += f" of {len(pair)}"
      raise UserError("type", name, text)
    if any(array is None for array in pair):
      missing = "images" if pair[0] is None else "labels"
      text = f"expected (images, labels), got no {missing}"
      raise UserError("missing", name, text)


def save(given: Given, config: ConfigDict, workdir: pathlib.Path) -> ConfigDict:
  """Writes the arrays to the cache; returns the config that names them.

  Raises:
    UserError: arrays that cannot be used, at the argument.
  """
  folder = build.cache_dir(config, workdir)
  changes = {}
  if given.images is not None:
    if config.data.sources:
      text = "expected none with images and labels"
      raise UserError("conflict", "data.sources", text)
    options = {
      "value_range": config.data.value_range,
      "channels_first": config.data.channels_first,
      "class_names": given.class_names,
    }
    path = arrays.save_npz(
      given.images, given.labels, folder, groups=given.groups, **options
    )
    changes = {"data.source": "npz", "data.dir": str(path)}
    for name, pair in given.splits.items():
      field = f"data.{_FIELDS[name]}"
      if pair is None:
        continue
      if config.data[_FIELDS[name]]:
        text = f"expected no {field} with it"
        raise UserError("conflict", name, text)
      try:
        path = arrays.save_npz(*pair, folder, every_class=False, **options)
      except UserError as error:
        raise UserError(error.code, name, str(error)) from error
      changes[field] = str(path)
  count = None if given.images is None else len(given.images)
  for name, values in (given.scores or {}).items():
    place = f"scores[{name!r}]"
    path = score_files.save_scores(values, count, folder, place)
    group = name if name == DIFFICULTY else f"scores.{name}"
    changes[f"{group}.file"] = str(path)
  return plain.merge(config, changes)


@contextlib.contextmanager
def named_by_argument(given: Given) -> Iterator[None]:
  """Raises the errors of the fields of given splits at the arguments."""
  try:
    yield
  except UserError as error:
    for name, field in _FIELDS.items():
      if given.splits[name] is not None and error.place == f"data.{field}":
        raise UserError(error.code, name, error.text) from error
    raise
