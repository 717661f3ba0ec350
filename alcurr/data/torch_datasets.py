"""PyTorch's map-style datasets, as arrays."""

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from alcurr.core.errors import UserError
from alcurr.data.labels import plain_array, require

# Items that are read twice: a random transform changes at least one of them.
_NUM_REPEATED = 64


class Items(NamedTuple):
  """The items of a dataset, in its own order."""

  inputs: Any  # an array [N, ...], or a dict of them
  labels: list[Any]  # [N]
  class_names: list[str] | None  # of the labels 0, 1, ...


def is_dataset(value: Any) -> bool:
  """Returns whether a value is PyTorch's Dataset or DataLoader.

  Nobody has one who has not imported PyTorch, which is thus not imported here.
  """
  torch = sys.modules.get("torch")
  if torch is None:
    return False
  data = torch.utils.data
  return isinstance(value, data.Dataset | data.DataLoader)


def read_items(dataset: Any, place: str) -> Items:
  """Reads a dataset, whose items are pairs (input, label).

  The names of the classes are the dataset's `classes`, as in torchvision, if
  each of these has an example.

  Memory: one array of all inputs, of their own type.

  Args:
    dataset: map-style, such as a `TensorDataset` or a `Subset`.
    place: the argument's name, for errors.

  Raises:
    UserError: it has no length, or items that are not pairs, that differ in
      shape or type, or that change from one reading to the next.
  """
  has_items = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
  if not has_items:
    text = "expected a map-style Dataset, with __len__ and __getitem__, got a "
    raise UserError("type", place, text + type(dataset).__name__)
  size = len(dataset)
  require(size > 0, place, "a Dataset with items", "an empty one")
  first, _ = _read_item(dataset, 0, place)
  inputs = {
    name: np.empty((size, *array.shape), array.dtype)
    for name, array in first.items()
  }
  labels = []
  for i in tqdm(range(size), desc=place, unit=" items", disable=None, delay=2):
    item, label = _read_item(dataset, i, place)
    _check_like(first, item, i, place)
    for name, array in item.items():
      inputs[name][i] = array
    labels.append(label)
  for i in np.linspace(0, size - 1, min(size, _NUM_REPEATED), dtype=int):
    item, label = _read_item(dataset, int(i), place)
    same = repr(label) == repr(labels[i])
    for name, array in item.items():
      same &= np.array_equal(array, inputs[name][i], array.dtype.kind == "f")
    expected = "the same item at each reading, without random transforms"
    require(same, place, expected, f"two versions of item {i}")
  names = _class_names(dataset, labels)
  is_single = inputs.keys() == {None}
  return Items(inputs[None] if is_single else inputs, labels, names)


def _read_item(
  dataset: Any, i: int, place: str
) -> tuple[dict[Any, np.ndarray], Any]:
  """Returns an input as arrays by name, or one array by None, and its label."""
  item = dataset[i]
  is_pair = isinstance(item, tuple | list) and len(item) == 2
  got = type(item).__name__
  if isinstance(item, tuple | list):
    got = f"{len(item)} values"
  require(is_pair, place, "items (input, label) of a Dataset", got)
  value, label = item
  parts = value if isinstance(value, Mapping) else {None: value}
  arrays = {name: plain_array(part, place) for name, part in parts.items()}
  if hasattr(label, "tolist"):  # a tensor, or a number of NumPy
    label = label.tolist()
  return arrays, label


def _check_like(
  first: dict[Any, np.ndarray],
  item: dict[Any, np.ndarray],
  i: int,
  place: str,
) -> None:
  """Refuses an input of another shape or type than that of the first item."""
  known, found = (
    {name: (array.shape, array.dtype) for name, array in arrays.items()}
    for arrays in (first, item)
  )
  if known == found:
    return
  ours, theirs = (
    " and ".join(f"{dtype} {list(shape)}" for shape, dtype in kinds.values())
    for kinds in (known, found)
  )
  text = f"one shape and type for all inputs, such as {ours}"
  require(False, place, text, f"{theirs} of item {i}")


def _class_names(dataset: Any, labels: list[Any]) -> list[str] | None:
  """Returns the dataset's names of the labels 0, 1, ..., if they fit."""
  while not hasattr(dataset, "classes") and hasattr(dataset, "dataset"):
    dataset = dataset.dataset  # of a Subset
  names = getattr(dataset, "classes", None)
  if not isinstance(names, list | tuple):
    return None
  are_numbers = all(type(label) is int for label in labels)
  fits = are_numbers and {*labels} == {*range(len(names))}
  return [*map(str, names)] if fits else None
