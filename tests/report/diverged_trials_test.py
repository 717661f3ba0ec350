"""Trials that went wrong are said and left out, and nothing falls over."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from toy_report import BANDIT

from alcurr.core import files
from alcurr.report import page, tables


def _go_wrong(workdir, name, trials):
  """The files of the toy's sampler, had these of its two trials diverged.

  At step 17 of 40; what the diverged model answers would be all right.
  """
  folder = workdir / "runs" / name
  path = folder / "metrics.jsonl"
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  left = [r for r in rows if r["trial"] not in trials or r["step"] < 17]
  path.write_text("".join(json.dumps(row) + "\n" for row in left))
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
  summary = tables.write_tables(workdir, "uniform").set_index("sampler")
  page.write_report([workdir], workdir / "report.html")
  return summary, (workdir / "report.html").read_text()


def test_one_of_two_is_left_out_of_every_mean(make_experiment):
  workdir = make_experiment()
  _go_wrong(workdir, BANDIT, [1])
  summary, text = _report(workdir)
  # Ranks 0 to 4 in turn, in the trial that is left.
  mine = summary.loc[BANDIT]
  assert (mine["top1"], mine["top3"], mine["loss"]) == (0.2, 0.6, 1.0)
  assert math.isnan(mine["top1_std"])
  assert (mine["trials"], mine["trials_wrong"]) == (1, 1)
  assert mine["top1_difference"] == mine["top1_low"] == mine["top1_high"] == 0
  assert summary.loc["uniform", "trials"] == 2
  assert "1 of 2" in tables.render(summary.reset_index())
  assert tables.failed(summary.reset_index()) == []
  results = pd.read_csv(workdir / "results.csv").set_index("sampler")
  good, bad = results.loc[BANDIT].to_dict("records")
  assert (bad["trial"], bad["diverged_step"]) == (1, 17)
  assert bad["divergence_reason"] == "loss, gradient"
  assert math.isnan(bad["top1"]) and good["top1"] == 0.2
  assert math.isnan(good["diverged_step"])
  assert "trial 1: at step 17 (loss, gradient)" in text
  assert "1 of 2" in text
  assert "Trials that went wrong" in text
  curve = pd.read_csv(workdir / "figures/learning_curves.csv")
  assert curve.set_index("sampler").loc[BANDIT, "trials"].tolist() == [1, 1]


@pytest.mark.parametrize("gone", [[BANDIT], ["uniform"], ["uniform", BANDIT]])
def test_samplers_of_which_nothing_is_left(make_experiment, gone):
  """One, the baseline itself, or all."""
  workdir = make_experiment()
  for name in gone:
    _go_wrong(workdir, name, [0, 1])
  summary, text = _report(workdir)
  assert tables.failed(summary.reset_index()) == gone
  assert summary.loc[gone, ["top1", "loss", "top1_std"]].isna().all(axis=None)
  assert math.isnan(summary.loc[BANDIT, "top1_difference"])
  assert "0 of 2" in tables.render(summary.reset_index())
  assert "trial 0: at step 17" in text
  assert ("learning_curves" in text) == (len(gone) < 2)


def test_a_difference_is_of_the_trials_that_both_have():
  """By hand: only the last of three is there on both sides."""
  mine = np.array([[1.0, 1.0], [math.nan, math.nan], [1.0, 0.0]])
  base = np.array([[math.nan, math.nan], [0.0, 0.0], [0.0, 0.0]])
  interval = tables.paired_bootstrap(mine - base)
  assert interval.mean == 0.5
  assert (interval.low, interval.high) == (0, 1)
  nothing = tables.paired_bootstrap(mine[:2] - base[:2])
  assert all(math.isnan(x) for x in nothing)
