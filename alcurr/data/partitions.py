"""Partitions of a pool into arms, computed on the host before training.

`Partition.order` is sorted by arm and, within an arm, easiest first, so that
it is a curriculum when read from its start.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from alcurr.core.errors import UserError
from alcurr.data.pool import Dataset
from alcurr.types import Partition, SamplerSpec


def make_partition(
  arm: np.ndarray, num_arms: int, rank: np.ndarray | None = None
) -> Partition:
  """Builds the CSR form of a partition into K arms.

  Args:
    arm: [N] int in [0, num_arms), the arm of each example.
    num_arms: K.
    rank: [N], sorts the examples of an arm, ascending; ties keep their order,
      and None keeps the order of all.

  Raises:
    ValueError: an arm out of range.
  """
  arm = np.asarray(arm, np.int32)
  if len(arm) and not 0 <= arm.min() <= arm.max() < num_arms:
    raise ValueError(f"arm must be in [0, {num_arms})")
  size = np.bincount(arm, minlength=num_arms)
  start = np.cumsum(size) - size
  order = np.lexsort((arm,) if rank is None else (rank, arm))
  return Partition(arm, *(a.astype(np.int32) for a in (order, start, size)))


def _rank_within(
  group: np.ndarray, difficulty: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns each example's rank in its group from 0, and the group's size."""
  arms = make_partition(group, group.max() + 1, difficulty)
  order, start, size = arms.order, arms.start, arms.size
  rank = np.empty(len(group), np.int64)
  rank[order] = np.arange(len(group)) - np.repeat(start, size)
  return rank, size[group]


def difficulty_in_class(
  label: np.ndarray, difficulty: np.ndarray, num_arms: int
) -> Partition:
  """Builds K quantiles of difficulty within each class, easiest first.

  An arm holds equal shares of all classes, up to an example ("Data Sampling
  Algorithms for Active Learning"). The order is by the rank within the class,
  divided by its size. A prefix holds equal shares too: the class-balanced order
  of Wu et al., 2021, "When do curricula work?". A class of fewer than K
  examples is in the first arm and some others.

  Args:
    label: [N] int32.
    difficulty: [N] float32.
    num_arms: K.
  """
  rank, size = _rank_within(label, difficulty)
  return make_partition(rank * num_arms // size, num_arms, rank / size)


def difficulty_in_pool(
  label: np.ndarray, difficulty: np.ndarray, num_arms: int
) -> Partition:
  """Builds K quantiles of difficulty over the whole pool, easiest first."""
  return difficulty_in_class(np.zeros(len(label), int), difficulty, num_arms)


def by_label(
  label: np.ndarray, difficulty: np.ndarray, num_arms: int
) -> Partition:
  """Builds an arm for each class, easiest first.

  `num_arms` is unused: all functions of PARTITIONS take the same arguments.
  """
  return make_partition(label, int(label.max()) + 1, difficulty)


def by_group(
  group: np.ndarray, difficulty: np.ndarray, num_arms: int
) -> Partition:
  """Builds an arm for each group, easiest first; as `by_label`."""
  return by_label(group, difficulty, num_arms)


def by_label_and_difficulty(
  label: np.ndarray, difficulty: np.ndarray, num_arms: int
) -> Partition:
  """Builds K quantiles of difficulty in each of V classes: V * K arms.

  The arm is label * K + quantile: class by class, each easiest first.
  """
  rank, size = _rank_within(label, difficulty)
  arm = label.astype(np.int64) * num_arms + rank * num_arms // size
  return make_partition(arm, (int(label.max()) + 1) * num_arms, rank)


def shuffled(
  label: np.ndarray, difficulty: np.ndarray, num_arms: int
) -> Partition:
  """Builds `difficulty_in_class` of random difficulties, as a control.

  The arms have the same sizes and classes and ignore `difficulty`. Pools of the
  same size have the same random numbers.
  """
  # Its own stream: from a plain seed, as of label noise, the arms would be
  # correlated with the noise.
  random = np.random.default_rng([*b"shuffled arms"]).random(len(label))
  return difficulty_in_class(label, random, num_arms)


# (label or group [N], difficulty [N], num_arms) -> Partition
PartitionFn = Callable[[np.ndarray, np.ndarray, int], Partition]

PARTITIONS: dict[str, PartitionFn] = {
  "clusters": by_group,
  "difficulty": difficulty_in_class,
  "difficulty_in_pool": difficulty_in_pool,
  "groups": by_group,
  "label": by_label,
  "label_difficulty": by_label_and_difficulty,
  "planted": by_group,
  "shuffled": shuffled,
}

# Partitions that need no scores, and so no reference model.
UNSCORED = frozenset({"groups", "label", "planted", "shuffled"})
# Partitions whose arms are given by another array than the labels, and what
# they need.
GIVEN = {
  "clusters": "a model's features; in a loop of your own, give them as groups",
  "groups": "the group of each example; give groups=[N], an array groups in "
  "the .npz, data.groups or data.sources",
  "planted": "labels made wrong by data.label_noise",
}


def require_given(name: str, given: Mapping[str, Any], place: str) -> None:
  """Raises UserError if a partition needs an array of arms that is None."""
  if name in GIVEN and given.get(name) is None:
    text = f"the partition {name!r} needs {GIVEN[name]}"
    raise UserError("missing", place, text)


def given_arms(part: Dataset) -> dict[str, np.ndarray]:
  """Returns the arms [N] of the partitions of `GIVEN` that a split has.

  Labels that nobody made wrong are right.
  """
  planted = part.flags.get("planted", np.zeros(len(part.label), bool))
  arms = {"planted": planted.astype(np.int32)}
  return arms if part.groups is None else arms | {"groups": part.groups}


def reads_difficulty(spec: SamplerSpec) -> bool:
  """Returns whether a sampler reads the difficulty, or a partition by it."""
  scored = set(spec.partitions) - UNSCORED
  return bool(scored) or "difficulty" in spec.scores


def fit_num_arms(
  name: str, label: np.ndarray, num_arms: int, class_names: tuple[str, ...]
) -> int:
  """Returns the largest K up to `num_arms` that leaves no quantile empty.

  Quantiles within the classes are as many as the classes of half of the
  examples can fill.

  Raises:
    ValueError: more quantiles than examples, or, for "label_difficulty", than
      the smallest class has.
  """
  size = np.bincount(label, minlength=len(class_names))
  most, whose = len(label), "the pool"
  if name == "label_difficulty":
    most = size.min()
    whose = f"the smallest class {class_names[size.argmin()]!r}"
  if name not in ("groups", "label", "planted") and num_arms > most:
    raise ValueError(
      f"num_arms must be at most {most}, the training examples of {whose}, for "
      f"the partition {name!r}, got {num_arms}"
    )
  if name in ("difficulty", "shuffled"):
    return min(num_arms, int(np.median(size[label])))
  return num_arms


def pad_arms(partition: Partition, num_arms: int) -> Partition:
  """Appends empty arms, as of classes that a pool lacks, until there are K."""
  more = (0, num_arms - len(partition.size))
  start = np.pad(partition.start, more, constant_values=len(partition.order))
  return partition._replace(start=start, size=np.pad(partition.size, more))
