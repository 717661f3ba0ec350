"""How far each sampler is from the best fixed policy of a grid."""

import math
import pathlib
from typing import Any

import numpy as np
import pandas as pd

from alcurr.core import files
from alcurr.report import curves, tables


def valid_top1(workdir: pathlib.Path) -> dict[str, float]:
  """Returns mean top-1 on valid at the last evaluation, by sampler."""
  means = {}
  for name, rows in curves.read_metrics(workdir).items():
    last = rows.sort_values("step").groupby("trial")["valid"].last()
    means[name] = float(np.mean([valid["top1"] for valid in last.dropna()]))
  return means


def points(difference: np.ndarray, name: str) -> dict[str, float]:
  """Returns the mean of a paired difference [S, N] in points, with bounds."""
  interval = tables.paired_bootstrap(difference)
  columns = (name, f"{name}, low", f"{name}, high")
  return dict(zip(columns, 100 * np.array(interval), strict=True))


def sort_by_test(rows: list[dict[str, Any]]) -> pd.DataFrame:
  """Returns a table by descending top-1 on test."""
  return pd.DataFrame(rows).sort_values(
    "test top-1 %", ascending=False, kind="stable", ignore_index=True
  )


def make_table(workdir: pathlib.Path) -> pd.DataFrame:
  """Returns a row per finished sampler, by descending top-1 on test.

  Config `grid` lists runs of fixed policies, as in configs/headroom.py. Without
  a finished grid the table is empty. The best has the highest mean top-1 on
  valid at the end, and is the first of equals. `regret` is its test top-1 minus
  the sampler's. Accuracies are in percent, differences in points, with the
  interval of `tables.paired_bootstrap`.
  """
  config = files.read_json(workdir / "config.json")
  results = {r["sampler"]: r for r in tables.read_results(workdir)}
  base, members = config["baseline"], config.get("grid") or []
  grid = [base, *(name for name in members if name != base)]
  if not members or not set(grid) <= results.keys():
    return pd.DataFrame()
  valid = valid_top1(workdir)
  best = max(grid, key=lambda name: valid.get(name, -math.inf))
  top1 = {name: tables.per_example(workdir, name)["top1"] for name in results}
  flops = {n: r["flops_per_step"] or math.nan for n, r in results.items()}
  rows = [
    {
      "sampler": name,
      "in the grid": name in grid,
      "valid top-1 %": 100 * valid.get(name, math.nan),
      "test top-1 %": 100 * tables.mean(top1[name]),
      **points(top1[name] - top1[base], f"difference to {base}"),
      **points(top1[best] - top1[name], "regret"),
      "FLOPs per step": flops[name] / flops[base],
      "examples seen": results[name]["examples_seen"],
    }
    for name in results
  ]
  table = sort_by_test(rows)
  table.attrs = {"base": base, "best": best, "count": len(grid) - 1}
  return table
