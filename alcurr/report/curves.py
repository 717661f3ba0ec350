"""Tables from metrics.jsonl and result.json: curves, policies, costs."""

import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from alcurr.core import files
from alcurr.core.errors import UserError
from alcurr.report import tables
from alcurr.report.tables import METRICS

# Columns of the tables below, with the labels of their axes.
COSTS = {
  "examples_seen": "examples",
  "flops": "FLOPs",
  "seconds": "seconds",
}
ACCURACIES = {
  "top1": "valid top-1",
  "top3": "valid top-3",
  "r2": "valid R²",
}
EXPOSURE = {
  "coverage": "share of the training pool",
  "effective_sample_size": "effective sample size, examples",
}
# Those of ACCURACIES and EXPOSURE that are shown in percent.
SHARES = (*ACCURACIES, "coverage")
# Top-1 accuracies on the valid pool, for experiments that set none.
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


def read_metrics(workdir: pathlib.Path) -> dict[str, pd.DataFrame]:
  """Returns metrics.jsonl of each finished sampler, the baseline's first.

  Diverged trials are omitted, and samplers all of whose trials diverged.

  Raises:
    UserError: a file that is not lines of JSON.
  """
  metrics = {}
  for result in tables.read_results(workdir):
    path = workdir / "runs" / result["sampler"] / "metrics.jsonl"
    try:
      lines = files.read_bytes(path).decode().splitlines()
      rows = [json.loads(line) for line in lines]
    except (ValueError, RecursionError) as error:
      text = f"{error}; delete its folder to repeat the run"
      raise UserError("damaged", str(path), text) from error
    diverged = tables.diverged_trials(result)
    rows = [row for row in rows if row["trial"] not in diverged]
    if rows:
      metrics[result["sampler"]] = pd.DataFrame(rows)
  return metrics


def tidy_log(metrics: pd.DataFrame, result: Mapping[str, Any]) -> pd.DataFrame:
  """Returns a sampler's log of `read_metrics`, joined with its result.json.

  A row per chunk and trial: sampler, batch_size, trial, step, COSTS (of this
  trial so far, with the scores that are charged), train_loss, EXPOSURE, and
  METRICS on valid (NaN between the evaluations).
  """
  log = metrics[["trial", "step", "examples_seen"]].copy()
  log.insert(0, "sampler", result["sampler"])
  log.insert(1, "batch_size", result["batch_size"])
  for column in ("train_loss", *EXPOSURE):
    log[column] = metrics[column].astype(float)  # a chunk may have no loss
  log["flops"] = log["step"] * (result["flops_per_step"] or math.nan)
  log["flops"] += result.get("charged_flops", 0.0)
  log["seconds"] = metrics["train_seconds"]
  valid = [v if isinstance(v, dict) else {} for v in metrics["valid"]]
  return log.join(pd.DataFrame(valid).reindex(columns=list(METRICS)))


def read_logs(workdir: pathlib.Path) -> pd.DataFrame:
  """Returns the `tidy_log` of every sampler in `read_metrics`, concatenated."""
  results = {r["sampler"]: r for r in tables.read_results(workdir)}
  metrics = read_metrics(workdir)
  logs = [tidy_log(rows, results[name]) for name, rows in metrics.items()]
  return pd.concat(logs, ignore_index=True) if logs else pd.DataFrame()


def measured(logs: pd.DataFrame) -> dict[str, str]:
  """Returns those of ACCURACIES that some logs or curves have."""
  return {
    metric: label
    for metric, label in ACCURACIES.items()
    if metric in logs and logs[metric].notna().any()
  }


def mean_curves(
  logs: pd.DataFrame, metrics: Sequence[str] | None = None
) -> pd.DataFrame:
  """Returns means over trials of `read_logs`, a row per evaluation.

  Columns: sampler, batch_size, step, COSTS, trials, and for each of `metrics`
  (None: of `measured`) its mean and `<metric>_std`, the sample's (NaN for a
  single trial).
  """
  metrics = measured(logs) if metrics is None else metrics
  columns = {cost: (cost, "first") for cost in COSTS}
  columns |= {"seconds": ("seconds", "mean"), "trials": ("trial", "nunique")}
  for metric in metrics:
    columns[metric] = (metric, "mean")
    columns[f"{metric}_std"] = (metric, "std")
  evaluated = logs.dropna(subset=list(metrics))
  groups = evaluated.groupby(["sampler", "batch_size", "step"], sort=False)
  return groups.agg(**columns).reset_index()


def policy_curve(metrics: pd.DataFrame) -> pd.DataFrame:
  """Returns the mean policy over trials: examples_seen x arm (from 1)."""
  grid = np.stack(metrics["policy"])
  arms = pd.RangeIndex(1, grid.shape[1] + 1, name="arm")
  policy = pd.DataFrame(grid, metrics["examples_seen"], arms)
  return policy.groupby(level=0).mean()


def changing_policies(workdir: pathlib.Path) -> dict[str, pd.DataFrame]:
  """Returns the `policy_curve` of each sampler whose policy changed."""
  policies = {
    name: policy_curve(metrics)
    for name, metrics in read_metrics(workdir).items()
    if "policy" in metrics
  }
  return {k: v for k, v in policies.items() if (v.max() - v.min()).max() > 1e-6}


def thresholds(config: Mapping[str, Any]) -> list[float]:
  """Returns the top-1, or R², whose costs are reported, ascending."""
  words = (config.get("thresholds") or "").replace(",", " ").split()
  return sorted(set(map(float, words)) or THRESHOLDS)


def reach_table(logs: pd.DataFrame, levels: Sequence[float]) -> pd.DataFrame:
  """Returns the cost of reaching each top-1 accuracy, or R², on valid.

  From `read_logs`: a row per sampler and level, with how many of the trials
  reached it, and the median over trials of each cost at the first evaluation
  that did. Trials that did not reach it count as infinite.
  """
  rows = []
  by = ["sampler", "batch_size"]
  headline = tables.headline(measured(logs))
  for keys, log in logs.groupby(by, sort=False):
    trials, log = log["trial"].unique(), log.sort_values("step")
    for level in levels:
      first = log[log[headline] >= level].groupby("trial")[list(COSTS)].first()
      first = first.astype(float)
      costs = first.reindex(trials, fill_value=math.inf).median(skipna=False)
      rows.append((*keys, level, len(first), len(trials), *costs))
  columns = [*by, headline, "reached", "trials", *COSTS]
  return pd.DataFrame(rows, columns=columns)


def reached(reach: pd.DataFrame) -> pd.DataFrame:
  """Returns the rows of a `reach_table` whose level some trial reached."""
  level = reach[tables.headline(reach)]
  return reach[reach["reached"].groupby(level).transform("sum") > 0]


def cost_table(
  results: Sequence[Mapping[str, Any]], reach: pd.DataFrame
) -> pd.DataFrame:
  """Returns a row per result: its costs, and when scoring pays for itself.

  `level` is the highest level of a `reach_table` that the sampler and its
  baseline both reach. `saved_seconds` is the baseline's time to it minus the
  sampler's. `payback_runs` is the number of runs that save the seconds of
  scoring: infinite if none are saved, NaN if nothing was scored or no level is
  reached by both. `flops_ratio` is of the FLOPs per example trained on,
  `total_flops_ratio` of all that a run spends; NaN if unknown. `scores_share`
  is the part of the latter that is of scores before training.
  """
  table = pd.DataFrame(results)
  headline = tables.headline(reach)
  times = reach.pivot(index=headline, columns="sampler", values="seconds")
  times = times.reindex(columns=table["sampler"]).fillna(math.inf)
  rows = []
  for result in results:
    name, base = result["sampler"], result["baseline"]
    level = saved = payback = math.nan
    both = np.isfinite(times[[name, base]]).all(axis=1)
    if name != base and both.any():
      level = times.index[both][-1]
      saved = times.loc[level, base] - times.loc[level, name]
      if scoring := result["scoring_seconds"]:
        payback = scoring / saved if saved > 0 else math.inf
    rows.append((level, saved, payback))
  paid = pd.DataFrame(rows, columns=["level", "saved_seconds", "payback_runs"])
  seconds = ["train_seconds", "compile_seconds", "scoring_seconds"]
  table["flops_ratio"] = tables.flops_ratio(table)
  table["total_flops_ratio"] = tables.total_flops_ratio(table)
  table["scores_share"] = [
    r["scores_flops"] / r["scores_shared_by"] / r["flops"]
    if r.get("flops")
    else math.nan
    for r in results
  ]
  columns = [*seconds, "flops_ratio", "total_flops_ratio", "scores_share"]
  columns += tables.shared_column(results)
  return table[["sampler", "baseline", *columns]].join(paid)
