"""Tables from metrics.jsonl and result.json: curves, policies, costs."""

import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from alcurr.core.errors import UserError
from alcurr.report import tables
from alcurr.report.tables import METRICS

# Columns of the tables below, with the labels of their axes.
COSTS = {
  "examples_seen": "examples seen",
  "flops": "FLOPs of training",
  "seconds": "seconds of training",
}
ACCURACIES = {
  "top1": "top-1 accuracy on valid",
  "top3": "top-3 accuracy on valid",
}
EXPOSURE = {
  "coverage": "share of the training pool seen",
  "effective_sample_size": "effective sample size, examples",
}
# Top-1 accuracies on the valid pool, for experiments that set none.
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


def read_metrics(workdir: pathlib.Path) -> dict[str, pd.DataFrame]:
  """Returns metrics.jsonl of each finished sampler, the baseline's first.

  Without diverged trials, and without samplers all of whose trials diverged.

  Raises:
    UserError: a file that is not lines of JSON.
  """
  metrics = {}
  for result in tables.read_results(workdir):
    path = workdir / "runs" / result["sampler"] / "metrics.jsonl"
    try:
      with path.open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
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
  trial's training so far), train_loss, EXPOSURE, and METRICS on valid (NaN
  between the evaluations).
  """
  log = metrics[["trial", "step", "examples_seen"]].copy()
  log.insert(0, "sampler", result["sampler"])
  log.insert(1, "batch_size", result["batch_size"])
  for column in ("train_loss", *EXPOSURE):
    log[column] = metrics[column].astype(float)  # a chunk may have no loss
  log["flops"] = log["step"] * (result["flops_per_step"] or math.nan)
  log["seconds"] = metrics["train_seconds"]
  valid = [v if isinstance(v, dict) else {} for v in metrics["valid"]]
  return log.join(pd.DataFrame(valid).reindex(columns=list(METRICS)))


def read_logs(workdir: pathlib.Path) -> pd.DataFrame:
  """Returns the `tidy_log` of every sampler in `read_metrics`, concatenated."""
  results = {r["sampler"]: r for r in tables.read_results(workdir)}
  metrics = read_metrics(workdir)
  logs = [tidy_log(rows, results[name]) for name, rows in metrics.items()]
  return pd.concat(logs, ignore_index=True) if logs else pd.DataFrame()


def mean_curves(
  logs: pd.DataFrame, metrics: Sequence[str] = tuple(ACCURACIES)
) -> pd.DataFrame:
  """Returns means over trials of `read_logs`, a row per evaluation.

  Columns: sampler, batch_size, step, COSTS, trials, and for each of `metrics`
  its mean and `<metric>_std`, the sample's (NaN for a single trial).
  """
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
  policy = metrics.groupby("examples_seen")["policy"].agg(
    lambda rows: np.mean(np.stack(rows), axis=0)
  )
  grid = np.stack(policy)
  arms = pd.RangeIndex(1, grid.shape[1] + 1, name="arm")
  return pd.DataFrame(grid, index=policy.index, columns=arms)


def changing_policies(workdir: pathlib.Path) -> dict[str, pd.DataFrame]:
  """Returns the `policy_curve` of each sampler whose policy changed."""
  policies = {}
  for name, metrics in read_metrics(workdir).items():
    if "policy" in metrics:
      policy = policy_curve(metrics)
      if np.ptp(policy.to_numpy(), axis=0).max() > 1e-6:
        policies[name] = policy
  return policies


def thresholds(config: Mapping[str, Any]) -> list[float]:
  """Returns the top-1 accuracies whose costs are reported, ascending."""
  words = (config.get("thresholds") or "").replace(",", " ").split()
  return sorted({float(word) for word in words} or THRESHOLDS)


def reach_table(logs: pd.DataFrame, levels: Sequence[float]) -> pd.DataFrame:
  """Returns the cost of reaching each top-1 accuracy in [0, 1] on valid.

  From `read_logs`: a row per sampler and level, with how many of the trials
  reached it, and the median over trials of each cost at the first evaluation
  that did. Trials that did not reach it count as infinite.
  """
  rows = []
  by = ["sampler", "batch_size"]
  for keys, log in logs.groupby(by, sort=False):
    trials = log["trial"].nunique()
    for level in levels:
      reached = log[log["top1"] >= level].sort_values("step")
      first = reached.groupby("trial").first()
      row = dict(zip(by, keys, strict=True))
      row |= {"top1": level, "reached": len(first), "trials": trials}
      for cost in COSTS:
        missing = [math.inf] * (trials - len(first))
        row[cost] = np.median([*first[cost], *missing])
      rows.append(row)
  return pd.DataFrame(rows)


def cost_table(
  results: Sequence[Mapping[str, Any]], reach: pd.DataFrame
) -> pd.DataFrame:
  """Returns a row per result: its costs, and when scoring pays for itself.

  `flops_ratio` is the FLOPs per example over the baseline's, NaN if unknown.
  `level` is the highest level of a `reach_table` that the sampler and its
  baseline both reach, `saved_seconds` the baseline's time to it minus the
  sampler's. `payback_runs` is the number of runs in which that saves the
  seconds of scoring: infinite if none are saved, NaN if nothing was scored or
  no level is reached by both.
  """
  columns = ("train_seconds", "compile_seconds", "scoring_seconds")
  # Per example, because a baseline may have another batch size.
  flops = {
    r["sampler"]: (r["flops_per_step"] or math.nan) / r["batch_size"]
    for r in results
  }
  times = reach.pivot(index="top1", columns="sampler", values="seconds")
  times = times.sort_index().reindex(columns=list(flops)).fillna(math.inf)
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
    rows.append(
      {
        "sampler": name,
        "baseline": base,
        **{column: result[column] for column in columns},
        "flops_ratio": flops[name] / flops[base],
        "level": level,
        "saved_seconds": saved,
        "payback_runs": payback,
      }
    )
  return pd.DataFrame(rows)
