"""Makes data harder in known ways, to see how samplers react to it."""

import numpy as np

from alcurr.data.pool import Dataset, take

# Wrong labels are of any other class, or of the next one.
NOISE = ("uniform", "pairs")


def add_label_noise(
  dataset: Dataset,
  fraction: float | np.ndarray,
  seed: int,
  kind: str = "uniform",
) -> Dataset:
  """Replaces a share of the labels by other classes.

  Args:
    dataset: N examples.
    fraction: the share, in [0, 1), or each example's [N]; each is hit
      independently.
    seed: of the random choices.
    kind: "uniform" for classes drawn uniformly; "pairs" for the next class by
      number, as if every class were taken for another one.

  Returns:
    The dataset with the new labels, and a flag `planted` [N] of the wrong ones.
  """
  if not np.all((np.asarray(fraction) >= 0) & (np.asarray(fraction) < 1)):
    raise ValueError(f"label_noise must be in [0, 1), got {fraction}")
  if kind not in NOISE:
    raise ValueError(f"kind must be of {', '.join(NOISE)}, got {kind!r}")
  rng = np.random.default_rng(seed)
  num_classes = len(dataset.class_names)
  planted = rng.random(len(dataset.label)) < fraction
  # A single class, as of targets, has no other one.
  shift = rng.integers(1, max(num_classes, 2), len(dataset.label))
  if kind == "pairs":
    shift = 1
  label = ((dataset.label + planted * shift) % num_classes).astype(np.int32)
  flags = dataset.flags | {"planted": planted}
  return dataset._replace(label=label, flags=flags)


def imbalance(dataset: Dataset, ratio: float) -> Dataset:
  """Drops examples, so that classes have geometrically falling sizes.

  Of V classes, class c has ratio^(-c / (V - 1)) of the examples of the largest
  one, or all that it has, and at least one. Those of the smallest keys stay.

  Args:
    dataset: N examples.
    ratio: the largest class over the smallest, at least 1.
  """
  if not 1 <= ratio < np.inf:
    raise ValueError(f"imbalance must be at least 1, got {ratio}")
  count = np.bincount(dataset.label, minlength=len(dataset.class_names))
  share = ratio ** -np.linspace(0, 1, len(count))
  most = np.maximum(np.round(count.max() * share), 1)
  order = np.lexsort((dataset.key, dataset.label))
  start = np.cumsum(count) - count
  rank = np.arange(len(order)) - start[dataset.label[order]]
  return take(dataset, np.sort(order[rank < most[dataset.label[order]]]))


def copies(dataset: Dataset, count: int) -> Dataset:
  """Returns each example `count` times, with the same key."""
  if count < 1:
    raise ValueError(f"copies must be at least 1, got {count}")
  return take(dataset, np.repeat(np.arange(len(dataset.label)), count))
