"""Intervals of paired differences: a bootstrap over trials and examples."""

import functools
import math
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
  """A mean with the bounds of its 95 % interval."""

  mean: float
  low: float
  high: float


def paired_bootstrap(difference: np.ndarray, resamples: int = 2000) -> Interval:
  """Returns the mean of paired differences [S, N] and its 95 % interval.

  The pairs are of the same trials and the same examples. Trials that are NaN
  are ignored; if all are, the interval is NaN.
  """
  if not len(finite_trials(difference)):
    return Interval(math.nan, math.nan, math.nan)
  bounds = np.quantile(resampled_means(difference, resamples), [0.025, 0.975])
  return Interval(mean(difference), *bounds.tolist())


def finite_trials(values: np.ndarray) -> np.ndarray:
  """Returns the trials of [S, N] that did not diverge."""
  return values[np.isfinite(values).all(1)]


def mean(values: np.ndarray) -> float:
  """Returns the mean of [S, N] over its finite trials; NaN without any."""
  finite = finite_trials(values)
  return float(finite.mean()) if len(finite) else math.nan


def resampled_means(
  difference: np.ndarray, resamples: int = 2000
) -> np.ndarray:
  """Returns the means [R] of bootstrap resamples of differences [S, N].

  Trials and examples are both resampled with replacement, so the means have
  the noise of both. The interval errs on the wide side (Owen, 2007, "The
  pigeonhole bootstrap"). At least one trial must be finite; others are ignored.
  """
  difference = finite_trials(difference).astype(np.float32)
  num_trials, num_examples = difference.shape
  example, trial = _resample_counts(num_trials, num_examples, resamples)
  # In blocks: as floats the counts are four times as large.
  blocks = np.split(example, range(100, resamples, 100))
  by_trial = [block.astype(np.float32) @ difference.T for block in blocks]
  return (np.concatenate(by_trial) * trial).sum(1) / (num_examples * num_trials)


@functools.lru_cache(maxsize=2)  # the same for all samplers of an experiment
def _resample_counts(
  num_trials: int, num_examples: int, resamples: int
) -> tuple[np.ndarray, np.ndarray]:
  """Counts each example [R, N] and each trial [R, S] in each resample."""
  rng = np.random.default_rng(0)

  def count(size: int) -> np.ndarray:
    draws = (rng.integers(size, size=size) for _ in range(resamples))
    # An example is in a resample once on average, and never 255 times.
    counts = [np.bincount(d, minlength=size).astype(np.uint8) for d in draws]
    return np.stack(counts)

  return count(num_examples), count(num_trials)
