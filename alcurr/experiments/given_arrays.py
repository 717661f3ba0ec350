"""Arrays that the user gives `alcurr.compare`, as files that a config names."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from alcurr.core.errors import UserError
from alcurr.data import array_files, score_files, torch_datasets
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

  inputs: Any
  labels: Any
  splits: dict[str, Any]  # (inputs, labels) by argument, a Dataset, or None
  class_names: Sequence[str] | None
  groups: Any
  scores: Mapping[str, Any] | None  # [N] by name


def count(inputs: Any) -> int:
  """Returns N, of an array, a data frame or a dict of arrays.

  Raises:
    UserError: they have no length.
  """
  array = inputs
  if isinstance(inputs, Mapping):
    array = next(iter(inputs.values()), ())
  if not hasattr(array, "__len__"):
    text = f"expected arrays, got a {type(array).__name__}"
    raise UserError("type", "inputs", text)
  return len(array)


def read_datasets(given: Given) -> Given:
  """Returns the arguments with arrays in the place of PyTorch's Datasets.

  Raises:
    UserError: a Dataset of no use, or labels besides it.
  """
  splits = {}
  for name, pair in given.splits.items():
    if torch_datasets.is_dataset(pair):
      items = torch_datasets.read_items(pair, name)
      pair = items.inputs, items.labels
    splits[name] = pair
  given = given._replace(splits=splits)
  if not torch_datasets.is_dataset(given.inputs):
    return given
  if given.labels is not None:
    text = "expected none with a Dataset, whose items are (input, label)"
    raise UserError("conflict", "labels", text)
  items = torch_datasets.read_items(given.inputs, "inputs")
  names = given.class_names
  if names is None:
    names = items.class_names
  return given._replace(
    inputs=items.inputs, labels=items.labels, class_names=names
  )


def check(given: Given) -> None:
  """Refuses arrays that lack others, before any is read.

  Raises:
    UserError: at the argument.
  """
  if (given.inputs is None) != (given.labels is None):
    missing = "inputs" if given.inputs is None else "labels"
    raise UserError("missing", missing, "give both inputs and labels, or none")
  fields = {"class_names": "data.classes", "groups": "data.groups"}
  fields |= {name: f"data.{field}" for name, field in _FIELDS.items()}
  values = {"class_names": given.class_names, "groups": given.groups}
  for name, value in (values | given.splits).items():
    if value is not None and given.inputs is None:
      text = f"expected inputs and labels too; of files, use {fields[name]}"
      raise UserError("conflict", name, text)
  for name, pair in given.splits.items():
    if pair is None:
      continue
    if not isinstance(pair, tuple | list) or len(pair) != 2:
      text = f"expected (inputs, labels), got a {type(pair).__name__}"
      if isinstance(pair, tuple | list):
        text += f" of {len(pair)}"
      raise UserError("type", name, text)
    if any(array is None for array in pair):
      missing = "inputs" if pair[0] is None else "labels"
      text = f"expected (inputs, labels), got no {missing}"
      raise UserError("missing", name, text)


def save(given: Given, config: ConfigDict, workdir: pathlib.Path) -> ConfigDict:
  """Writes the arrays to the cache; returns the config that names them.

  Raises:
    UserError: arrays that cannot be used, at the argument.
  """
  folder = build.cache_dir(config, workdir)
  changes = {}
  if given.inputs is not None:
    if config.data.sources:
      text = "expected none with inputs and labels"
      raise UserError("conflict", "data.sources", text)
    options = {
      "value_range": config.data.value_range,
      "channels_first": config.data.channels_first,
      "class_names": given.class_names,
      "regression": config.data.regression,
    }
    path = array_files.save_npz(
      given.inputs, given.labels, folder, groups=given.groups, **options
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
        path = array_files.save_npz(*pair, folder, every_class=False, **options)
      except UserError as error:
        raise UserError(error.code, name, str(error)) from error
      changes[field] = str(path)
  size = None if given.inputs is None else count(given.inputs)
  for name, values in (given.scores or {}).items():
    place = f"scores[{name!r}]"
    path = score_files.save_scores(values, size, folder, place)
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
