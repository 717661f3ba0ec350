"""How far each sampler is from the best fixed policy of a grid.

For experiments whose config lists, as `grid`, runs of fixed policies, such as
configs/headroom.py.
"""

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
    evaluated = rows.dropna(subset="valid").sort_values("step")
    last = evaluated.groupby("trial")["valid"].last()
    means[name] = float(np.mean([valid["top1"] for valid in last]))
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

  The reference is the member of the grid with the best mean top-1 on valid at
  the end of its runs, the first of equals. `regret` is its test top-1 minus
  the sampler's. Accuracies are in percent, differences in points, with the
  interval of `tables.paired_bootstrap`. Empty without a finished grid.
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
      "examples seen": result["examples_seen"],
    }
    for name, result in results.items()
  ]
  table = sort_by_test(rows)
  table.attrs = {"base": base, "best": best, "count": len(grid) - 1}
  return table
