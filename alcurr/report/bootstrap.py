"""Intervals of paired differences: a bootstrap over trials and examples."""

import functools
import math
from collections.abc import Sequence
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
  return paired_bootstraps([difference], resamples)[0]


def paired_bootstraps(
  differences: Sequence[np.ndarray], resamples: int = 2000
) -> list[Interval]:
  """Returns the interval of each of several differences, [S, N] with one N.

  Together they take little longer than one; see `paired_bootstrap`.
  """
  known = [i for i, x in enumerate(differences) if len(finite_trials(x))]
  intervals = [Interval(math.nan, math.nan, math.nan)] * len(differences)
  means = resampled_means([differences[i] for i in known], resamples)
  for i, resampled in zip(known, means, strict=True):
    bounds = np.quantile(resampled, [0.025, 0.975])
    intervals[i] = Interval(mean(differences[i]), *bounds.tolist())
  return intervals


def finite_trials(values: np.ndarray) -> np.ndarray:
  """Returns the trials of [S, N] that did not diverge."""
  return values[np.isfinite(values).all(1)]


def mean(values: np.ndarray) -> float:
  """Returns the mean of [S, N] over its finite trials; NaN without any."""
  finite = finite_trials(values)
  return float(finite.mean()) if len(finite) else math.nan


def resampled_means(
  differences: Sequence[np.ndarray], resamples: int = 2000
) -> list[np.ndarray]:
  """Returns the means [R] of bootstrap resamples of each difference [S, N].

  Trials and examples are both resampled with replacement, so the means have
  the noise of both. The interval errs on the wide side (Owen, 2007, "The
  pigeonhole bootstrap"). At least one trial must be finite; others are ignored.
  All have the same N, and share the resamples.
  """
  if not differences:
    return []
  finite = [finite_trials(x).astype(np.float32) for x in differences]
  counts = [_resample_counts(*x.shape, resamples) for x in finite]
  # The counts as floats are four times as large, so a block of them at a time;
  # making those takes most of the time, so all differences at once.
  joined = np.concatenate(finite).T  # [N, S of all]
  blocks = np.split(counts[0][0], range(100, resamples, 100))
  sums = np.concatenate([block.astype(np.float32) @ joined for block in blocks])
  ends = np.cumsum([len(x) for x in finite])
  return [
    (by_trial * trial).sum(1) / x.size
    for by_trial, (_, trial), x in zip(
      np.split(sums, ends[:-1], 1), counts, finite, strict=True
    )
  ]


@functools.lru_cache(maxsize=2)  # the same for all samplers of an experiment
def _resample_counts(
  num_trials: int, num_examples: int, resamples: int
) -> tuple[np.ndarray, np.ndarray]:
  """Counts each example [R, N] and each trial [R, S] in each resample.

  The counts of examples do not depend on the number of trials.
  """
  rng = np.random.default_rng(0)

  def count(size: int) -> np.ndarray:
    draws = (rng.integers(size, size=size) for _ in range(resamples))
    # An example is in a resample once on average, and never 255 times.
    counts = [np.bincount(d, minlength=size).astype(np.uint8) for d in draws]
    return np.stack(counts)

  return count(num_examples), count(num_trials)
