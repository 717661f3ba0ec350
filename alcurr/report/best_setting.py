"""Each sampler at its best setting: chosen on valid, reported on test."""

import pathlib

import numpy as np
import pandas as pd

from alcurr.core import files
from alcurr.report import regret, tables


def holm(p: np.ndarray) -> np.ndarray:
  """Adjusts p-values [m] for their number (Holm, 1979)."""
  order = np.argsort(p)
  steps = p[order] * (len(p) - np.arange(len(p)))
  adjusted = np.empty(len(p))
  adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
  return adjusted


def _two_sided(means: np.ndarray) -> float:
  """Returns the two-sided p-value of resampled means [R]."""
  beyond = min((means <= 0).sum(), (means >= 0).sum())
  # If no resample is beyond zero, p is still at least 1 in R + 1.
  return min(2 * (beyond + 1) / (len(means) + 1), 1.0)


def make_table(workdir: pathlib.Path) -> pd.DataFrame:
  """Returns a row per sampler whose settings have all finished, best first.

  Config `best_setting` lists the runs of each sampler, as in configs/honest.py;
  without it the table is empty. The best has the highest mean top-1 on valid at
  the end. Test top-1 is in percent, its difference to the baseline's best in
  points, with the interval of `tables.paired_bootstrap`. `at an end` is "yes"
  for the first or last of three or more settings.
  """
  config = files.read_json(workdir / "config.json")
  settings = config.get("best_setting") or {}
  finished = {result["sampler"] for result in tables.read_results(workdir)}
  # Settings all of whose trials diverged have finished but cannot be the best.
  valid = regret.valid_top1(workdir) if settings else {}
  best = {
    sampler: max((run for run in runs if run in valid), key=valid.get)
    for sampler, runs in settings.items()
    if set(runs) <= finished and set(runs) & valid.keys()
  }
  base = next((s for s in best if config["baseline"] in settings[s]), None)
  if base is None:
    return pd.DataFrame()
  top1 = {s: tables.per_example(workdir, r)["top1"] for s, r in best.items()}
  lead = {sampler: top1[sampler] - top1[base] for sampler in best}
  p = {
    sampler: _two_sided(tables.resampled_means(lead[sampler]))
    for sampler in best
    if sampler != base and len(tables.finite_trials(lead[sampler]))
  }
  adjusted = dict(zip(p, holm(np.array(list(p.values()))), strict=True))
  ends = {s: runs[:: len(runs) - 1] for s, runs in settings.items() if runs[2:]}
  rows = [
    {
      "sampler": sampler,
      "setting": run,
      "at an end": "yes" if run in ends.get(sampler, ()) else "",
      "valid top-1 %": 100 * valid[run],
      "test top-1 %": 100 * tables.mean(top1[sampler]),
      **regret.points(lead[sampler], f"difference to {base}"),
      "Holm p": adjusted.get(sampler, np.nan),
    }
    for sampler, run in best.items()
  ]
  return regret.sort_by_test(rows)
