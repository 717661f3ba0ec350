"""How far each sampler is from the best fixed policy of a grid.

Read from the files of an experiment whose config names a `grid` of frozen
policies beside its samplers, such as that of configs/headroom.py.
"""

import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from alcurr.core import files
from alcurr.report import curves, tables
from alcurr.report.section import Section


def grid(config: Mapping[str, Any]) -> list[str]:
  """The samplers among which the mark is chosen, the baseline first."""
  base, members = config["baseline"], config.get("grid") or []
  return [base, *(n for n in members if n != base)] if members else []


def valid_top1(metrics: pd.DataFrame) -> float:
  """Top-1 on the valid pool at each trial's last evaluation, the mean.

  Args:
    metrics: a sampler's rows, of `curves.read_metrics`.
  """
  evaluated = metrics[metrics["valid"].map(lambda v: isinstance(v, dict))]
  last = evaluated.sort_values("step").groupby("trial")["valid"].last()
  return float(np.mean([valid["top1"] for valid in last]))


def _points(difference: np.ndarray, name: str) -> dict[str, float]:
  """The mean of a paired difference [S, N] and its interval, in points."""
  interval = tables.paired_bootstrap(difference)
  columns = (name, f"{name}, low", f"{name}, high")
  return dict(zip(columns, 100 * np.array(interval), strict=True))


def _finished(workdir: pathlib.Path) -> tuple[list[str], dict[str, Any]]:
  """The grid, empty until all of it has finished, and the results by name."""
  members = grid(files.read_json(workdir / "config.json"))
  results = {r["sampler"]: r for r in tables.read_results(workdir)}
  return (members if set(members) <= set(results) else []), results


def _mark(members: list[str], valid: Mapping[str, float]) -> str:
  """The best of the grid on valid; the first of equals."""
  return max(members, key=lambda name: valid.get(name, -math.inf))


def _valid(workdir: pathlib.Path) -> dict[str, float]:
  metrics = curves.read_metrics(workdir)
  return {name: valid_top1(rows) for name, rows in metrics.items()}


def regret_table(workdir: pathlib.Path) -> pd.DataFrame:
  """Every finished sampler against the mark, the best first.

  The mark is the member of the grid with the best mean top-1 on valid at the
  end of its runs. So it is chosen on valid and everything else but that column
  is of the test pool.

  Args:
    workdir: of an experiment whose grid has finished.

  Returns:
    A row per sampler, by falling test top-1. Accuracies are in percent,
    differences in points, with the 95 % interval of
    `tables.paired_bootstrap`. `regret` is the mark's less the sampler's
    test top-1.

  Raises:
    ValueError: an experiment without a grid, or with an unfinished one.
  """
  members, results = _finished(workdir)
  if not members:
    raise ValueError(f"{workdir} has no finished grid of frozen policies")
  valid = _valid(workdir)
  base = members[0]
  mark = _mark(members, valid)
  top1 = {name: tables.per_example(workdir, name)["top1"] for name in results}
  flops = results[base]["flops_per_step"]
  rows = [
    {
      "sampler": name,
      "in the grid": name in members,
      "valid top-1 %": 100 * valid.get(name, math.nan),
      "test top-1 %": 100 * tables.mean(top1[name]),
      **_points(top1[name] - top1[base], f"difference to {base}"),
      **_points(top1[mark] - top1[name], "regret"),
      "FLOPs of a step": (
        result["flops_per_step"] / flops
        if result["flops_per_step"] and flops
        else math.nan
      ),
      "examples seen": result["examples_seen"],
    }
    for name, result in results.items()
  ]
  table = pd.DataFrame(rows).sort_values(
    "test top-1 %", ascending=False, kind="stable"
  )
  return table.reset_index(drop=True)


def section(workdir: pathlib.Path) -> Section | None:
  """The table with its reading; None without a finished grid."""
  members, _ = _finished(workdir)
  if not members:
    return None
  base, mark = members[0], _mark(members, _valid(workdir))
  text = (
    f"The grid is {base} and {len(members) - 1} policies over the arms that "
    "were given and never learned. Its member with the best top-1 on the valid "
    f"pool at the end, the mean over trials, is the mark: {mark}. It was "
    "chosen on valid, and all that follows is of the test pool: a sampler's "
    "regret is the mark's top-1 less the sampler's, in points, so that "
    "it is positive where a fixed policy would have done better. Low and high "
    "bound the 95 % interval of a bootstrap over trials and test examples of "
    "the difference on the same trial and the same example. FLOPs of a step "
    f"are relative to {base}."
  )
  return Section("Regret to the mark", text, regret_table(workdir), "regret")
