"""Every sampler at the best of its settings: chosen on valid, told of test.

Read from the files of an experiment whose config says, as `tuned`, which runs
are settings of the same sampler, such as that of configs/honest.py.
"""

import pathlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from alcurr.core import files
from alcurr.report import curves, regret, tables
from alcurr.report.section import Section


def holm(p: np.ndarray) -> np.ndarray:
  """p-values [m] adjusted for their number (Holm, 1979)."""
  order = np.argsort(p)
  steps = p[order] * (len(p) - np.arange(len(p)))
  adjusted = np.empty(len(p))
  adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
  return adjusted


def _two_sided(means: np.ndarray) -> float:
  """How rarely resamples [R] fall on the other side of zero, twice."""
  beyond = min((means <= 0).sum(), (means >= 0).sum())
  # Of R resamples none is evidence for less than one in R + 1.
  return min(2 * (beyond + 1) / (len(means) + 1), 1.0)


def _ends(runs: Sequence[str]) -> set[str]:
  """The first and the last of settings in order; of two, neither is."""
  return {runs[0], runs[-1]} if len(runs) > 2 else set()


def tuned_table(workdir: pathlib.Path) -> pd.DataFrame:
  """A row per sampler whose settings have all finished, the best first.

  Returns:
    The setting with the best mean top-1 on valid at the end of its runs, its
    test top-1 in percent, and its difference to the baseline's sampler at the
    best of its own settings, in points, with the 95 % interval of
    `tables.paired_bootstrap`; `Holm p` is of that bootstrap, two-sided, and
    adjusted for the number of samplers compared; `at an end` is "yes" where
    that setting is the first or the last of three or more. Empty without
    `tuned`.
  """
  config = files.read_json(workdir / "config.json")
  metrics = curves.read_metrics(workdir)
  finished = curves.read_baselines(workdir).keys()
  # Settings all of whose trials went wrong are finished and not the best.
  valid = {name: regret.valid_top1(rows) for name, rows in metrics.items()}
  chosen = {
    family: max((r for r in runs if r in valid), key=valid.get)
    for family, runs in (config.get("tuned") or {}).items()
    if set(runs) <= finished and set(runs) & valid.keys()
  }
  home = [f for f in chosen if config["baseline"] in config["tuned"][f]]
  if not home:
    return pd.DataFrame()
  right = {
    family: tables.per_example(workdir, run)["top1"]
    for family, run in chosen.items()
  }
  base = home[0]
  lead = {family: right[family] - right[base] for family in chosen}
  others = [
    family
    for family in chosen
    if family != base and len(tables.without_wrong(lead[family]))
  ]
  p = holm(
    np.array([_two_sided(tables.resampled_means(lead[f])) for f in others])
  )
  adjusted = dict(zip(others, p, strict=True))
  rows = []
  for family, run in chosen.items():
    interval = tables.paired_bootstrap(lead[family])
    rows.append(
      {
        "sampler": family,
        "setting": run,
        "at an end": "yes" if run in _ends(config["tuned"][family]) else "",
        "valid top-1 %": 100 * valid[run],
        "test top-1 %": 100 * tables.mean(right[family]),
        f"difference to {base}": 100 * interval.mean,
        "low": 100 * interval.low,
        "high": 100 * interval.high,
        "Holm p": adjusted.get(family, np.nan),
      }
    )
  table = pd.DataFrame(rows)
  table = table.sort_values("test top-1 %", ascending=False, kind="stable")
  return table.reset_index(drop=True)


def section(workdir: pathlib.Path) -> Section | None:
  """The table with its reading; None where nothing was tuned."""
  table = tuned_table(workdir)
  if table.empty:
    return None
  text = (
    "Every sampler was run at the same settings, and the one with the best "
    "mean top-1 on the valid pool stands here with its test top-1; where that "
    "one is at an end of those tried, a wider range may hold a better one. The "
    "difference is to the baseline at the best of its own settings, on the "
    "same trial and the same example; low and high bound the 95 % interval of "
    "a bootstrap over trials and test examples. Holm p is the two-sided "
    "p-value of that bootstrap, adjusted for the number of samplers compared."
  )
  return Section("Equally tuned", text, table, "tuned")
