"""The bootstrap against SciPy and closed forms, and results.csv."""

import csv

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from alcurr.report import bootstrap, tables


def test_one_trial_is_scipys_bootstrap():
  """With a single trial only the examples are resampled."""
  rng = np.random.default_rng(0)
  difference = rng.integers(-1, 2, (1, 400)).astype(float)
  ours = bootstrap.paired_bootstrap(difference, resamples=4000)
  scipys = stats.bootstrap(
    (difference[0],), np.mean, n_resamples=4000, method="percentile", rng=1
  ).confidence_interval
  assert ours.mean == difference.mean()
  assert ours.low == pytest.approx(scipys.low, abs=0.006)
  assert ours.high == pytest.approx(scipys.high, abs=0.006)


def test_trials_that_disagree_widen_the_interval():
  """Without noise of the examples there is only that of the trials."""
  same = np.tile(np.array([[0.1], [0.1], [0.1]]), (1, 50))
  assert bootstrap.paired_bootstrap(same)[1:] == pytest.approx((0.1, 0.1))
  spread = np.tile(np.array([[0.0], [0.1], [0.2]]), (1, 50))
  interval = bootstrap.paired_bootstrap(spread)
  assert interval.mean == pytest.approx(0.1)
  # Three draws of three: all equal with probability 1/9, 1/27 at each end.
  assert interval.low == pytest.approx(0.0)
  assert interval.high == pytest.approx(0.2)


def test_its_coverage_is_at_least_90_percent():
  """95 % intervals of 200 experiments with a known mean of zero."""
  rng = np.random.default_rng(3)
  hits = 0
  for _ in range(200):
    trial = 0.02 * rng.standard_normal((8, 1))
    example = rng.standard_normal((1, 100)) * 0.3
    noise = rng.standard_normal((8, 100)) * 0.1
    interval = bootstrap.paired_bootstrap(
      trial + example + noise, resamples=300
    )
    hits += interval.low <= 0 <= interval.high
  assert hits >= 180


def test_a_row_per_trial_with_the_candidates_that_it_scored():
  accuracies = {"top1": 0.5, "top3": 0.75}
  trials = [accuracies | {"skipped_updates": 1}, {"diverged_step": 3}]
  results = [{"sampler": "a", "steps": 9, "trials": trials}]
  table = tables.runs_table(results)
  expected = [column for column in tables.RUN_COLUMNS if column != "r2"]
  assert table.columns.tolist() == expected
  assert table["trial"].tolist() == [0, 1]
  assert table["steps"].tolist() == [9, 9]
  assert table["diverged_step"].dropna().tolist() == [3]
  assert table["examples_scored"].dropna().tolist() == [0]
  trials[0]["examples_scored"] = 640
  table = tables.runs_table(results)
  assert table["examples_scored"].dropna().tolist() == [640]
  # More runs than one share the scores.
  results[0]["scores_shared_by"] = 4
  assert tables.runs_table(results)["scores_shared_by"].tolist() == [4, 4]


TEXTS = (
  *('=HYPERLINK("x")', "+1", "-1", "@a", "\tx", "\nx", " =1", "\uff1d1"),
  *("'=1", "''=1", "'a", "a=1", "a,=1", 'a",=1', "1", "NaN", "", "cat"),
)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_no_formula_and_is_read_back(text, tmp_path):
  path = tmp_path / "a.csv"
  table = pd.DataFrame({"name": [text], "x": [-0.5], text + "=": [2]})
  tables.write_csv(path, table)
  with path.open(newline="") as file:
    header, row = csv.reader(file)
  assert row[1:] == ["-0.5", "2"]
  for cell in (*header, row[0]):
    assert not cell.lstrip(" ").startswith(tuple("=+-@\t\r\n\uff1d"))
  again = tables.read_csv(path, ["name"])
  assert list(again.columns) == list(table.columns)
  assert again["x"].tolist() == [-0.5]
  if text:  # an empty text is a missing one
    assert again["name"].tolist() == [text]
