"""Folds of a training pool, for models that score what they never saw."""

import numpy as np


def mix_keys(key: np.ndarray) -> np.ndarray:
  """Returns hashes of keys, independent of the keys' order: [N] uint64.

  The splits of a dataset are cut by the leading bits of the keys. Any other
  choice by key mixes them first (the finalizer of SplitMix64; Steele et al.,
  2014), or all that it takes would be of one split.
  """
  mixed = key.astype(np.uint64)
  for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
    mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
  return mixed ^ (mixed >> np.uint64(31))


def assign_folds(key: np.ndarray, num_folds: int) -> np.ndarray:
  """Returns the fold of each example by the hash of its key: [N] int64.

  Equal keys share a fold. An example stays in its fold when others are added.

  Args:
    key: [N] uint64, see `Dataset.key`.
    num_folds: the number of folds.
  """
  return (mix_keys(key) % np.uint64(num_folds)).astype(np.int64)
