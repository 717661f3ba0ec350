"""Runs chosen on valid and reported on test.

The regret to the best fixed policy of a grid, and each sampler at its best
setting.
"""

import math
import pathlib
from typing import Any

import numpy as np
import pandas as pd

from alcurr.core import files
from alcurr.report import bootstrap, curves, tables
from alcurr.training import evaluation


def _valid_scores(workdir: pathlib.Path) -> dict[str, float]:
  """Returns mean top-1, or R², on valid at the last evaluation, by sampler."""
  means = {}
  for name, rows in curves.read_metrics(workdir).items():
    last = rows.sort_values("step").groupby("trial")["valid"].last()
    scores = [evaluation.selection_metric(valid) for valid in last.dropna()]
    means[name] = float(np.mean(scores))
  return means


def _points(difference: np.ndarray, name: str) -> dict[str, float]:
  """Returns the mean of a paired difference [S, N] in points, with bounds."""
  interval = bootstrap.paired_bootstrap(difference)
  columns = (name, f"{name}, low", f"{name}, high")
  return dict(zip(columns, 100 * np.array(interval), strict=True))


def _sort_by_test(rows: list[dict[str, Any]]) -> pd.DataFrame:
  """Returns a table by descending top-1 on test."""
  return pd.DataFrame(rows).sort_values(
    "test top-1 %", ascending=False, kind="stable", ignore_index=True
  )


def regret_table(workdir: pathlib.Path) -> pd.DataFrame:
  """Returns a row per finished sampler, by descending top-1 on test.

  Config `grid` lists runs of fixed policies, as in configs/headroom.py. Without
  a finished grid the table is empty. The best has the highest mean top-1 on
  valid at the end, and is the first of equals. `regret` is its test top-1 minus
  the sampler's. Accuracies are in percent, differences in points, with the
  interval of `bootstrap.paired_bootstrap`.
  """
  config = files.read_json(workdir / "config.json")
  results = {r["sampler"]: r for r in tables.read_results(workdir)}
  base, members = config["baseline"], config.get("grid") or []
  grid = [base, *(name for name in members if name != base)]
  if not members or not set(grid) <= results.keys():
    return pd.DataFrame()
  valid = _valid_scores(workdir)
  best = max(grid, key=lambda name: valid.get(name, -math.inf))
  top1 = {name: tables.per_headline(workdir, name) for name in results}
  flops = {n: r["flops_per_step"] or math.nan for n, r in results.items()}
  rows = [
    {
      "sampler": name,
      "in the grid": name in grid,
      "valid top-1 %": 100 * valid.get(name, math.nan),
      "test top-1 %": 100 * bootstrap.mean(top1[name]),
      **_points(top1[name] - top1[base], f"difference to {base}"),
      **_points(top1[best] - top1[name], "regret"),
      "FLOPs per step": flops[name] / flops[base],
      "examples seen": results[name]["examples_seen"],
    }
    for name in results
  ]
  table = _sort_by_test(rows)
  table.attrs = {"base": base, "best": best, "count": len(grid) - 1}
  return table


def holm(p: np.ndarray) -> np.ndarray:
  """Adjusts p-values [m] for their number (Holm, 1979)."""
  order = np.argsort(p)
  steps = p[order] * (len(p) - np.arange(len(p)))
  adjusted = np.empty(len(p))
  adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
  return adjusted


def two_sided(means: np.ndarray) -> float:
  """Returns the two-sided p-value of resampled means [R]."""
  beyond = min((means <= 0).sum(), (means >= 0).sum())
  # If no resample is beyond zero, p is still at least 1 in R + 1.
  return min(2 * (beyond + 1) / (len(means) + 1), 1.0)


def best_setting_table(workdir: pathlib.Path) -> pd.DataFrame:
  """Returns a row per sampler whose settings have all finished, best first.

  Config `best_setting` lists the runs of each sampler, as in configs/honest.py;
  without it the table is empty. The best has the highest mean top-1 on valid at
  the end. Test top-1 is in percent, its difference to the baseline's best in
  points, with the interval of `bootstrap.paired_bootstrap`. `at an end` is
  "yes" for the first or last of three or more settings.
  """
  config = files.read_json(workdir / "config.json")
  settings = config.get("best_setting") or {}
  finished = {result["sampler"] for result in tables.read_results(workdir)}
  # Settings all of whose trials diverged have finished but cannot be the best.
  valid = _valid_scores(workdir) if settings else {}
  best = {
    sampler: max((run for run in runs if run in valid), key=valid.get)
    for sampler, runs in settings.items()
    if set(runs) <= finished and set(runs) & valid.keys()
  }
  base = next((s for s in best if config["baseline"] in settings[s]), None)
  if base is None:
    return pd.DataFrame()
  top1 = {s: tables.per_headline(workdir, r) for s, r in best.items()}
  lead = {sampler: top1[sampler] - top1[base] for sampler in best}
  others = [
    sampler
    for sampler in best
    if sampler != base and len(bootstrap.finite_trials(lead[sampler]))
  ]
  means = bootstrap.resampled_means([lead[sampler] for sampler in others])
  p = dict(zip(others, map(two_sided, means), strict=True))
  adjusted = dict(zip(p, holm(np.array(list(p.values()))), strict=True))
  ends = {s: runs[:: len(runs) - 1] for s, runs in settings.items() if runs[2:]}
  rows = [
    {
      "sampler": sampler,
      "setting": run,
      "at an end": "yes" if run in ends.get(sampler, ()) else "",
      "valid top-1 %": 100 * valid[run],
      "test top-1 %": 100 * bootstrap.mean(top1[sampler]),
      **_points(lead[sampler], f"difference to {base}"),
      "Holm p": adjusted.get(sampler, np.nan),
    }
    for sampler, run in best.items()
  ]
  return _sort_by_test(rows)
