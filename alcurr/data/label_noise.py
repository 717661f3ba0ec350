"""Planted mistakes, to see what a sampler does about them."""

import numpy as np

from alcurr.data.pool import Dataset


def plant_wrong_labels(dataset: Dataset, fraction: float, seed: int) -> Dataset:
  """Gives a share of the examples a label drawn from the other classes.

  Args:
    dataset: N examples.
    fraction: the share, in [0, 1); each example is hit independently.
    seed: of which are hit, and by what.

  Returns:
    The dataset with those labels, and a flag `planted` [N] that says where.
  """
  if not 0 <= fraction < 1:
    raise ValueError(f"label_noise must be in [0, 1), got {fraction}")
  rng = np.random.default_rng(seed)
  num_classes = len(dataset.class_names)
  planted = rng.random(len(dataset.label)) < fraction
  shift = rng.integers(1, num_classes, len(dataset.label))
  label = np.where(
    planted, (dataset.label + shift) % num_classes, dataset.label
  )
  return dataset._replace(
    label=label.astype(np.int32), flags=dataset.flags | {"planted": planted}
  )
