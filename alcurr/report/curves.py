"""Tidy tables from the logs: curves, times to an accuracy, costs.

Everything is read from metrics.jsonl and result.json; nothing is trained.
"""

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

METRICS = ("top1", "top3", "map3", "loss")
# What a curve can be drawn against, and its name on an axis.
COSTS = {
  "examples_seen": "examples seen",
  "flops": "FLOPs of training",
  "seconds": "seconds of training",
}
# How much of the pool a trial has seen, and its name on an axis.
SEEN = {
  "coverage": "share of the training pool that was seen",
  "effective_sample_size": "effective sample size, examples",
}
# Where an experiment names none: top-1 accuracies on the valid pool.
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


def read_metrics(workdir: pathlib.Path) -> dict[str, pd.DataFrame]:
  """The rows of each finished sampler's metrics.jsonl, the baseline's first.

  Trials that went wrong are left out, and samplers of which no row is left.
  """
  metrics = {}
  for result in tables.read_results(workdir):
    path = workdir / "runs" / result["sampler"] / "metrics.jsonl"
    if path.exists():
      try:
        with path.open(encoding="utf-8") as file:
          rows = [json.loads(line) for line in file]
      except (ValueError, RecursionError) as error:
        raise UserError(
          f"{path} is damaged ({error}); delete the folder it is in, and that "
          "run is done again."
        ) from error
      wrong = tables.wrong_trials(result)
      rows = [row for row in rows if row["trial"] not in wrong]
      if rows:
        metrics[result["sampler"]] = pd.DataFrame(rows)
  return metrics


def read_baselines(workdir: pathlib.Path) -> dict[str, str]:
  """The sampler that each finished sampler is compared with."""
  common = files.read_json(workdir / "config.json")["baseline"]
  return {
    result["sampler"]: result.get("baseline") or common
    for result in tables.read_results(workdir)
  }


def thresholds(config: Mapping[str, Any]) -> list[float]:
  """The top-1 accuracies whose times are reported, rising."""
  named = str(config.get("thresholds") or "").replace(",", " ").split()
  return sorted({float(word) for word in named} or set(THRESHOLDS))


def tidy_log(metrics: pd.DataFrame, result: Mapping[str, Any]) -> pd.DataFrame:
  """A sampler's log with its costs, a row per chunk and trial.

  Args:
    metrics: the sampler's rows, of `read_metrics`.
    result: the sampler's result.json.

  Returns:
    sampler, batch_size, trial, step, examples_seen, flops and seconds (of this
    trial's training so far), train_loss, the SEEN of the pool, and the METRICS
    on the valid pool, NaN where it was not evaluated.
  """
  log = metrics[["trial", "step", "examples_seen"]].copy()
  # An older log does not tell what was seen; a chunk may have no loss.
  for column in ("train_loss", *SEEN):
    log[column] = metrics.get(column, math.nan)
    log[column] = log[column].astype(float)
  log.insert(0, "sampler", result["sampler"])
  log.insert(1, "batch_size", result["batch_size"])
  flops, seconds = result["flops_per_step"], result["train_seconds"]
  log["flops"] = log["step"] * (math.nan if flops is None else flops)
  # An older log has no clock of its own: then every step took the same.
  log["seconds"] = log["step"] / result["steps"] * seconds
  if "train_seconds" in metrics:
    log["seconds"] = metrics["train_seconds"].fillna(log["seconds"])
  for metric in METRICS:
    log[metric] = [
      valid[metric] if isinstance(valid, dict) else math.nan
      for valid in metrics["valid"]
    ]
  return log


def read_logs(workdir: pathlib.Path) -> pd.DataFrame:
  """The `tidy_log` of every sampler in `read_metrics`, one below the other."""
  metrics = read_metrics(workdir)
  logs = [
    tidy_log(metrics[result["sampler"]], result)
    for result in tables.read_results(workdir)
    if result["sampler"] in metrics
  ]
  return pd.concat(logs, ignore_index=True) if logs else pd.DataFrame()


def mean_curves(
  logs: pd.DataFrame, metrics: Sequence[str] = ("top1", "top3")
) -> pd.DataFrame:
  """Mean and sample standard deviation over trials, at each evaluation.

  Args:
    logs: of `read_logs`.
    metrics: columns of `logs`, each of which gives `<metric>` and
      `<metric>_std` (NaN of a single trial).
  """
  evaluated = logs.dropna(subset=list(metrics))
  columns = {
    "examples_seen": ("examples_seen", "first"),
    "flops": ("flops", "first"),
    "seconds": ("seconds", "mean"),
    "trials": ("trial", "nunique"),
  }
  for metric in metrics:
    columns[metric] = (metric, "mean")
    columns[f"{metric}_std"] = (metric, "std")
  by = ["sampler", "batch_size", "step"]
  return evaluated.groupby(by, sort=False).agg(**columns).reset_index()


def policy_curve(metrics: pd.DataFrame) -> pd.DataFrame:
  """The mean policy over trials: examples_seen x arm (from 1)."""
  policy = metrics.groupby("examples_seen")["policy"].agg(
    lambda rows: np.mean(np.stack(rows), axis=0)
  )
  grid = np.stack(policy)
  arms = pd.RangeIndex(1, grid.shape[1] + 1, name="arm")
  return pd.DataFrame(grid, index=policy.index, columns=arms)


def moving_policies(workdir: pathlib.Path) -> dict[str, pd.DataFrame]:
  """The `policy_curve` of each sampler whose policy changed in its run."""
  policies = {
    name: policy_curve(metrics)
    for name, metrics in read_metrics(workdir).items()
    if "policy" in metrics
  }
  return {
    name: policy
    for name, policy in policies.items()
    if np.ptp(policy.to_numpy(), axis=0).max() > 1e-6
  }


def reach_table(logs: pd.DataFrame, levels: Sequence[float]) -> pd.DataFrame:
  """What it took to reach each top-1 accuracy on the valid pool.

  Args:
    logs: of `read_logs`.
    levels: accuracies in [0, 1].

  Returns:
    A row per sampler and level: in how many of the trials it was reached, and
    the median over all trials of the cost at the first evaluation that
    reached it. A trial that never did counts as infinite, so that the median
    is infinite where fewer than more than half of the trials arrived.
  """
  rows = []
  for (name, batch_size), log in logs.groupby(
    ["sampler", "batch_size"], sort=False
  ):
    trials = log["trial"].nunique()
    for level in levels:
      arrived = log[log["top1"] >= level].sort_values("step")
      first = arrived.groupby("trial").first()
      missing = [math.inf] * (trials - len(first))
      rows.append(
        {
          "sampler": name,
          "batch_size": batch_size,
          "top1": level,
          "reached": len(first),
          "trials": trials,
        }
        | {cost: np.median([*first[cost], *missing]) for cost in COSTS}
      )
  return pd.DataFrame(rows)


def cost_table(
  results: Sequence[Mapping[str, Any]],
  baselines: Mapping[str, str],
  reach: pd.DataFrame,
) -> pd.DataFrame:
  """What each sampler costs, and when its scoring has paid for itself.

  Args:
    results: the samplers' result.json.
    baselines: the sampler that each is compared with.
    reach: of `reach_table`.

  Returns:
    A row per sampler. `saved_seconds` is the baseline's time to the highest
    level of `reach` (`level`) that both reach, less the sampler's;
    `payback_runs` is the number of runs in which that saves the seconds of
    scoring: infinite where nothing is saved, NaN where nothing was scored or
    no level is reached by both.
  """
  by_name = {result["sampler"]: result for result in results}
  rows = []
  for name, result in by_name.items():
    base = by_name.get(baselines[name])
    level, saved = _saved_seconds(reach, name, baselines[name])
    scoring = result["scoring_seconds"]
    payback = math.nan
    if scoring and not math.isnan(saved):
      payback = scoring / saved if saved > 0 else math.inf
    rows.append(
      {
        "sampler": name,
        "baseline": baselines[name],
        "train_seconds": result["train_seconds"],
        "compile_seconds": result["compile_seconds"],
        "scoring_seconds": scoring,
        "flops_ratio": _ratio(result, base),
        "level": level,
        "saved_seconds": saved,
        "payback_runs": payback,
      }
    )
  return pd.DataFrame(rows)


def _ratio(result: Mapping[str, Any], base: Mapping[str, Any] | None) -> float:
  """FLOPs of an example over the baseline's; NaN where either is unknown."""
  if not (base and base["flops_per_step"] and result["flops_per_step"]):
    return math.nan
  # A baseline may have batches of another size.
  mine, theirs = (r["flops_per_step"] / r["batch_size"] for r in (result, base))
  return mine / theirs


def _saved_seconds(
  reach: pd.DataFrame, name: str, baseline: str
) -> tuple[float, float]:
  """(highest level that both reach, seconds saved there), or NaNs."""
  if name == baseline:
    return math.nan, math.nan
  seconds = reach.pivot(index="top1", columns="sampler", values="seconds")
  pair = seconds.reindex(columns=[name, baseline]).fillna(math.inf)
  both = pair[np.isfinite(pair).all(axis=1)]
  if both.empty:
    return math.nan, math.nan
  last = both.sort_index().iloc[-1]
  return float(last.name), float(last[baseline] - last[name])
