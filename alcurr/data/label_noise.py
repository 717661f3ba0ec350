"""Adds wrong labels, to see how samplers react to them."""

import numpy as np

from alcurr.data.pool import Dataset


def add_label_noise(
  dataset: Dataset, fraction: float | np.ndarray, seed: int
) -> Dataset:
  """Replaces a share of the labels by other classes, drawn uniformly.

  Args:
    dataset: N examples.
    fraction: the share, in [0, 1), or each example's [N]; each is hit
      independently.
    seed: of the random choices.

  Returns:
    The dataset with the new labels, and a flag `planted` [N] of the wrong ones.
  """
  if not np.all((np.asarray(fraction) >= 0) & (np.asarray(fraction) < 1)):
    raise ValueError(f"label_noise must be in [0, 1), got {fraction}")
  rng = np.random.default_rng(seed)
  num_classes = len(dataset.class_names)
  planted = rng.random(len(dataset.label)) < fraction
  shift = rng.integers(1, num_classes, len(dataset.label))
  label = ((dataset.label + planted * shift) % num_classes).astype(np.int32)
  flags = dataset.flags | {"planted": planted}
  return dataset._replace(label=label, flags=flags)
