"""The interval of the tables, and the tables themselves."""

import numpy as np
import pytest
from scipy import stats

from alcurr.report import tables


def test_one_trial_is_scipys_bootstrap():
  """With a single trial only the examples are resampled."""
  rng = np.random.default_rng(0)
  difference = rng.integers(-1, 2, (1, 400)).astype(float)
  mine = tables.paired_bootstrap(difference, resamples=4000)
  theirs = stats.bootstrap(
    (difference[0],), np.mean, n_resamples=4000, method="percentile", rng=1
  ).confidence_interval
  assert mine.mean == difference.mean()
  assert mine.low == pytest.approx(theirs.low, abs=0.006)
  assert mine.high == pytest.approx(theirs.high, abs=0.006)


def test_trials_that_disagree_widen_the_interval():
  """Without any noise of examples, only that of the trials is left."""
  same = np.tile(np.array([[0.1], [0.1], [0.1]]), (1, 50))
  assert tables.paired_bootstrap(same)[1:] == pytest.approx((0.1, 0.1))
  spread = np.tile(np.array([[0.0], [0.1], [0.2]]), (1, 50))
  interval = tables.paired_bootstrap(spread)
  assert interval.mean == pytest.approx(0.1)
  # Three draws of three: all equal with probability 1/9, 1/27 at each end.
  assert interval.low == pytest.approx(0.0)
  assert interval.high == pytest.approx(0.2)


def test_it_covers_the_truth_about_as_often_as_it_says():
  """95 % intervals of 200 experiments with a known mean of zero."""
  rng = np.random.default_rng(3)
  hits = 0
  for _ in range(200):
    trial = 0.02 * rng.standard_normal((8, 1))
    example = rng.standard_normal((1, 100)) * 0.3
    noise = rng.standard_normal((8, 100)) * 0.1
    interval = tables.paired_bootstrap(trial + example + noise, resamples=300)
    hits += interval.low <= 0 <= interval.high
  assert hits >= 180
