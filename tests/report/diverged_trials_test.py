"""Diverged trials are reported and excluded everywhere."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from toy_report import BANDIT

from alcurr.core import files
from alcurr.report import bootstrap, formatting, page, tables


def _diverge(workdir, name, trials):
  """Rewrites the files of a sampler as if trials had diverged at step 17.

  The answers of the diverged model would all be right.
  """
  folder = workdir / "runs" / name
  path = folder / "metrics.jsonl"
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  rest = [r for r in rows if r["trial"] not in trials or r["step"] < 17]
  path.write_text("".join(json.dumps(row) + "\n" for row in rest))
  result = json.loads((folder / "result.json").read_text())
  for trial in trials:
    result["trials"][trial] = {
      "diverged_step": 17,
      "divergence_reason": "loss, gradient",
    }
  (folder / "result.json").write_text(json.dumps(result))
  with np.load(folder / "test.npz", allow_pickle=False) as file:
    rank, loss = file["rank"].copy(), file["loss"].copy()
  rank[trials], loss[trials] = 0, math.nan
  files.write_file(
    folder / "test.npz", lambda file: np.savez(file, rank=rank, loss=loss)
  )


def _report(workdir):
  summary = tables.write_tables(workdir).set_index("sampler")
  page.write_report([workdir], workdir / "report.html")
  return summary, (workdir / "report.html").read_text()


def test_one_of_two_is_excluded_from_every_mean(make_experiment):
  workdir = make_experiment()
  _diverge(workdir, BANDIT, [1])
  summary, text = _report(workdir)
  # Ranks 0 to 4 in turn, in the other trial.
  row = summary.loc[BANDIT]
  assert (row["top1"], row["top3"], row["loss"]) == (0.2, 0.6, 1.0)
  assert math.isnan(row["top1_std"])
  assert (row["trials"], row["trials_diverged"]) == (1, 1)
  assert row["top1_difference"] == row["top1_low"] == row["top1_high"] == 0
  assert summary.loc["uniform", "trials"] == 2
  assert "1 of 2" in formatting.terminal(summary.reset_index())
  assert tables.diverged_samplers(summary.reset_index()) == []
  results = pd.read_csv(workdir / "results.csv").set_index("sampler")
  good, bad = results.loc[BANDIT].to_dict("records")
  assert (bad["trial"], bad["diverged_step"]) == (1, 17)
  assert bad["divergence_reason"] == "loss, gradient"
  assert math.isnan(bad["top1"]) and good["top1"] == 0.2
  assert math.isnan(good["diverged_step"])
  assert "trial 1: at step 17 (loss, gradient)" in text
  assert "1 of 2" in text
  assert "Diverged trials" in text
  curve = pd.read_csv(workdir / "figures/learning_curves.csv")
  assert curve.set_index("sampler").loc[BANDIT, "trials"].tolist() == [1, 1]


@pytest.mark.parametrize(
  "gone",
  [
    pytest.param([BANDIT], marks=pytest.mark.slow),
    ["uniform"],
    ["uniform", BANDIT],
  ],
)
def test_samplers_all_of_whose_trials_diverged(make_experiment, gone):
  """One, the baseline itself, or all."""
  workdir = make_experiment()
  for name in gone:
    _diverge(workdir, name, [0, 1])
  summary, text = _report(workdir)
  assert tables.diverged_samplers(summary.reset_index()) == gone
  assert summary.loc[gone, ["top1", "loss", "top1_std"]].isna().all(axis=None)
  assert math.isnan(summary.loc[BANDIT, "top1_difference"])
  assert "0 of 2" in formatting.terminal(summary.reset_index())
  assert "trial 0: at step 17" in text
  assert ("learning_curves" in text) == (len(gone) < 2)


def test_a_difference_is_of_the_trials_that_both_have():
  """By hand: only the last of three finished on both sides."""
  values = np.array([[1.0, 1.0], [math.nan, math.nan], [1.0, 0.0]])
  base = np.array([[math.nan, math.nan], [0.0, 0.0], [0.0, 0.0]])
  interval = bootstrap.paired_bootstrap(values - base)
  assert interval.mean == 0.5
  assert (interval.low, interval.high) == (0, 1)
  nothing = bootstrap.paired_bootstrap(values[:2] - base[:2])
  assert all(math.isnan(x) for x in nothing)
