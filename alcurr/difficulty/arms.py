"""Partitions of a pool into arms, on the host, once per experiment."""

from collections.abc import Callable

import numpy as np

from alcurr.types import Arms


def make_arms(arm: np.ndarray, num_arms: int) -> Arms:
  """The CSR form of a partition.

  Args:
    arm: [N] int, the arm of each example, in [0, num_arms).
    num_arms: K.
  """
  arm = np.asarray(arm, np.int32)
  size = np.bincount(arm, minlength=num_arms)
  if len(size) > num_arms or (len(arm) and arm.min() < 0):
    raise ValueError(f"arm must be in [0, {num_arms})")
  start = np.concatenate([[0], np.cumsum(size)[:-1]])
  order = np.argsort(arm, kind="stable")
  return Arms(arm, *(a.astype(np.int32) for a in (order, start, size)))


def _quantile_within(
  group: np.ndarray, difficulty: np.ndarray, num_arms: int
) -> np.ndarray:
  """The quantile of each example among those of its group: [N] in [0, K)."""
  order = np.lexsort((difficulty, group))  # stable: ties keep their order
  size = np.bincount(group)
  start = np.concatenate([[0], np.cumsum(size)[:-1]])
  rank = np.empty(len(group), np.int64)
  rank[order] = np.arange(len(group)) - np.repeat(start, size)
  return rank * num_arms // size[group]


def difficulty_in_class(
  label: np.ndarray, difficulty: np.ndarray, num_arms: int
) -> Arms:
  """K quantiles of difficulty within each class, easiest first.

  Every arm holds the classes in the proportions of the pool, up to one
  example a class ("Data Sampling Algorithms for Active Learning").

  Args:
    label: [N] int32.
    difficulty: [N] float32.
    num_arms: K.
  """
  return make_arms(_quantile_within(label, difficulty, num_arms), num_arms)


def difficulty_in_pool(
  label: np.ndarray, difficulty: np.ndarray, num_arms: int
) -> Arms:
  """K quantiles of difficulty over the whole pool, easiest first."""
  everyone = np.zeros(len(label), np.int64)
  return make_arms(_quantile_within(everyone, difficulty, num_arms), num_arms)


def by_label(label: np.ndarray, difficulty: np.ndarray, num_arms: int) -> Arms:
  """An arm for each class; neither difficulty nor `num_arms` matters."""
  return make_arms(label, int(label.max()) + 1)


Partition = Callable[[np.ndarray, np.ndarray, int], Arms]

# (label [N], difficulty [N], num_arms) -> Arms, by the name in `pool.arms`.
ARMS: dict[str, Partition] = {
  "difficulty": difficulty_in_class,
  "difficulty_in_pool": difficulty_in_pool,
  "label": by_label,
}

# Partitions that need no scores, and so no reference model.
UNSCORED = frozenset({"label"})


def check_num_arms(
  label: np.ndarray, num_arms: int, class_names: tuple[str, ...]
) -> None:
  """Refuses more quantiles than the smallest class has examples."""
  size = np.bincount(label, minlength=len(class_names))
  if num_arms > size.min():
    raise ValueError(
      f"num_arms {num_arms} is larger than the smallest class, "
      f"{class_names[size.argmin()]!r} with {size.min()} examples to train "
      "on; take fewer arms or more drawings"
    )
