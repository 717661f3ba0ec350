"""Splits of a dataset by the hash of each example's key."""

from collections.abc import Collection, Sequence

import numpy as np
from absl import logging

from alcurr.core import specs
from alcurr.data.pool import Dataset, take


def check_fractions(
  valid_fraction: float,
  test_fraction: float,
  probe_fraction: float,
  given: Collection[str] = (),
) -> None:
  """Raises ValueError for shares of `split` that leave no training data."""
  shares = {"valid": valid_fraction, "test": test_fraction}
  held_out = [share for name, share in shares.items() if name not in given]
  probe = 0 if "probe" in given else probe_fraction
  if not (
    all(share > 0 for share in held_out) and 0 <= probe < 1 - sum(held_out)
  ):
    raise ValueError(
      "valid_fraction and test_fraction must be > 0, probe_fraction >= 0, the "
      f"sum < 1, got {valid_fraction}, {test_fraction} and {probe_fraction}"
    )


def split(
  dataset: Dataset,
  valid_fraction: float,
  test_fraction: float,
  probe_fraction: float = 0.0,
  given: Collection[str] = (),
) -> dict[str, Dataset]:
  """Splits a dataset by the hash of each example's key.

  Equal keys stay together. Each class has its share, up to binomial noise, and
  at least one key in each split where it can: in train, test, valid and probe,
  in this order. An example only moves when data is added if it had been taken
  for a split that lacked its class. The log has the classes that a split lacks.

  Args:
    dataset: N examples.
    valid_fraction: share for learning curves and model selection, in (0, 1).
    test_fraction: share for the final evaluation, in (0, 1).
    probe_fraction: share that samplers may learn from, in [0, 1).
    given: splits that are not made, whatever their shares.

  Returns:
    "train", "valid", "test" and, unless probe_fraction is 0, "probe"; without
    those that are given.

  Raises:
    ValueError: fractions that leave no training data, or an empty split.
  """
  check_fractions(valid_fraction, test_fraction, probe_fraction, given)
  shares = {
    "valid": valid_fraction,
    "test": test_fraction,
    "train": 0.0,
    "probe": probe_fraction,
  }
  shares = {k: 0.0 if k in given else share for k, share in shares.items()}
  names = [k for k, share in shares.items() if share or k == "train"]
  # The top 53 bits of a hash are a uniform number in [0, 1).
  uniform = (dataset.key >> np.uint64(11)) * 2.0**-53
  evaluated = shares["valid"] + shares["test"]
  bounds = [shares["valid"], evaluated, 1 - shares["probe"]]
  # A share of 0 holds nothing, but its bound is one still.
  position = [[*shares].index(name) for name in names]
  split_number = np.searchsorted(position, np.digitize(uniform, bounds))
  priority = [n for n in ("train", "test", "valid", "probe") if n in names]
  _fill(split_number, dataset, [names.index(name) for name in priority])
  parts = {}
  for i, name in enumerate(names):
    parts[name] = part = take(dataset, np.flatnonzero(split_number == i))
    if not len(part.label):
      problem = f"the split {name} of {len(dataset.label)} examples is empty"
      raise ValueError(f"{problem}; expected more, with different content")
    warn_of_lacking_classes(name, part)
  return parts


def warn_of_lacking_classes(name: str, part: Dataset) -> None:
  """Logs the classes of which a split has no example."""
  count = np.bincount(part.label, minlength=len(part.class_names))
  if lacking := [part.class_names[c] for c in np.flatnonzero(count == 0)]:
    few = ", ".join(map(repr, lacking[:5])) + ", ..." * (len(lacking) > 5)
    text = "The split %s has no example of some classes (%d): %s."
    logging.warning(text, name, len(lacking), few)


def _fill(
  split_number: np.ndarray, dataset: Dataset, priority: Sequence[int]
) -> None:
  """Gives each class a key in each split, if a split lacks it and it has some.

  Changes `split_number` [N]. The keys of such a class, in their order, are cut
  at nearly the same places, so that each split gets one. A key of two classes
  belongs to the first. `priority` has the numbers of the splits, the first of
  which get a key if there are few.
  """
  num_splits = len(priority)
  present = np.zeros((len(dataset.class_names), num_splits), bool)
  present[dataset.label, split_number] = True
  rare = np.flatnonzero(~present.all(1)[dataset.label])
  if not len(rare):
    return
  rare = rare[np.lexsort((dataset.label[rare], dataset.key[rare]))]
  key, first = np.unique(dataset.key[rare], return_index=True)
  first = rare[first]
  for label in np.unique(dataset.label[first]).tolist():
    index = first[dataset.label[first] == label]
    size = np.bincount(split_number[index], minlength=num_splits)
    least = np.zeros(num_splits, int)
    least[priority[: len(index)]] = 1
    end = np.cumsum(size)
    for i in range(num_splits):
      end[i] = max(end[i], (end[i - 1] if i else 0) + least[i])
    end[-1] = len(index)
    for i in range(num_splits - 1, 0, -1):
      end[i - 1] = min(end[i - 1], end[i] - least[i])
    split_number[index] = np.searchsorted(end, np.arange(len(index)), "right")
  # Equal keys, perhaps of another class, follow.
  same = np.flatnonzero(np.isin(dataset.key, key))
  place = np.searchsorted(key, dataset.key[same])
  split_number[same] = split_number[first[place]]


def first_by_key(part: Dataset, count: int) -> Dataset:
  """Returns the `count` examples of the smallest keys, in their order."""
  return take(part, np.sort(np.argsort(part.key)[:count]))


def first_to_train_on(part: Dataset, count: int) -> Dataset:
  """Returns an example of each class, and else those of the smallest keys."""
  order = np.argsort(part.key)
  _, first = np.unique(part.label[order], return_index=True)
  specs.check_range("data.train_examples", count, len(first), len(part.label))
  order = np.concatenate([order[first], np.delete(order, first)])
  return take(part, np.sort(order[:count]))
