"""results.csv and summary.csv."""

import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from alcurr.core import files, paths
from alcurr.core.errors import UserError
from alcurr.report import bootstrap
from alcurr.training import evaluation

METRICS = ("top1", "top3", "map3", "loss", "balanced_accuracy", "auc", "r2")
# What samplers are judged by, with its name: of classes, and of targets.
HEADLINES = {"top1": "top-1", "r2": "R²"}
RUN_COLUMNS = (
  *("sampler", "batch_size", "trial", *METRICS),
  *("examples_seen", "examples_scored", "steps"),
  *("train_seconds", "scoring_seconds"),
  *("flops_per_step", "scores_flops", "flops"),
  *("coverage", "effective_sample_size"),
  *("skipped_updates", "diverged_step", "divergence_reason"),
)


def headline(metrics: Iterable[str]) -> str:
  """Returns the one of HEADLINES that is among some metrics or columns."""
  return next(name for name in HEADLINES if name in {*metrics})


def describe_trials(trials: Sequence[Mapping[str, Any]]) -> str:
  """Returns the mean headline of the trials of a result.json."""
  finished = [trial for trial in trials if "loss" in trial]
  if not finished:
    return "all trials diverged"
  name = headline(finished[0])
  mean = np.mean([trial[name] for trial in finished])
  return f"{HEADLINES[name]} {mean:.4f}"


def sampler_names(workdir: pathlib.Path) -> list[str]:
  """Returns an experiment's samplers, the baseline first.

  Raises:
    UserError: a name that, as the name of a folder, leads out of the workdir.
  """
  config = files.read_json(workdir / "config.json")
  for name in config["samplers"]:
    paths.check_plain(name, f"{workdir}: a sampler")
  return sorted(config["samplers"], key=lambda n: n != config["baseline"])


def read_results(workdir: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the result.json of each finished sampler, the baseline's first.

  A result without `baseline` gets the experiment's.

  Raises:
    UserError: a file that is not the result of its sampler.
  """
  results = []
  names = sampler_names(workdir)
  for name in names:
    path = workdir / "runs" / name / "result.json"
    if path.exists():
      result = files.read_record(path)
      if result is None or result.get("sampler") != name:
        text = f"expected the result of {name}; delete it to repeat the run"
        raise UserError("damaged", str(path), text)
      results.append({"baseline": names[0]} | result)
  return results


def diverged_trials(result: dict[str, Any]) -> list[int]:
  """Returns the trials of a result.json that diverged."""
  return [i for i, t in enumerate(result["trials"]) if t.get("diverged_step")]


def arm_partition(workdir: pathlib.Path, name: str) -> str | None:
  """Returns the partition whose arms a sampler draws, or None."""
  path = workdir / "runs" / name / "sampler_spec.json"
  return files.read_json(path)["arm_partition"] if path.exists() else None


def per_example(workdir: pathlib.Path, name: str) -> dict[str, np.ndarray]:
  """Returns each metric of each test example, [S, N]; diverged trials are NaN.

  Trials that the experiment has and the sampler not yet are NaN too. Therefore
  differences between samplers are NaN where either lacks a trial. The mean
  of `balanced_accuracy` is that of the classes' top-1: its values are weighted
  by the rarity of the example's class. Results of older versions lack it. There
  is no `top3` of up to three classes.
  """
  folder = workdir / "runs" / name
  files.check_regular(folder / "test.npz")
  with np.load(folder / "test.npz", allow_pickle=False) as file:
    rank, loss, label = file.get("rank"), file["loss"], file.get("label")
  metrics = {}
  if rank is None:
    metrics["r2"] = evaluation.explained(loss, label)
  else:
    metrics["top1"] = (rank < 1).astype(np.float64)
    if not 0 < _num_classes(workdir) <= evaluation.MAX_FEW:
      metrics["top3"] = (rank < 3).astype(np.float64)
    metrics["map3"] = np.where(rank < 3, 1 / (rank + 1), 0)
  metrics["loss"] = loss.astype(np.float64)
  if rank is not None and label is not None:
    count = np.bincount(label)
    weight = len(label) / ((count > 0).sum() * count[label])
    metrics["balanced_accuracy"] = metrics["top1"] * weight
  result = files.read_json(folder / "result.json")
  trials, diverged = len(result["trials"]), diverged_trials(result)
  config = files.read_json(workdir / "config.json")
  missing = max(config.get("trials", trials) - trials, 0)
  for name, values in metrics.items():
    values[diverged] = math.nan
    # A process that adds trials may just have written more.
    padding = ((0, missing), (0, 0))
    metrics[name] = np.pad(values[:trials], padding, constant_values=math.nan)
  return metrics


def _num_classes(workdir: pathlib.Path) -> int:
  """Returns V, or 0 if the experiment has no gallery that says it."""
  path = workdir / "gallery.json"
  record = files.read_record(path) if path.exists() else None
  return len((record or {}).get("class_names", ()))


def per_headline(workdir: pathlib.Path, name: str) -> np.ndarray:
  """Returns the headline metric of each test example, [S, N]."""
  metrics = per_example(workdir, name)
  return metrics[headline(metrics)]


def runs_table(results: list[dict[str, Any]]) -> pd.DataFrame:
  """Returns results.csv: a row per sampler and trial.

  `examples_scored` counts the candidates of batches. `scores_flops` are of the
  scores before training that the sampler reads, in full; `flops` are of the
  trial's training and its share of those. `scores_shared_by` is a column if
  several runs share them, and `gains_ignored` if gains were not finite.
  """
  rows = pd.DataFrame(
    result | _scored(trial) | {"trial": number}
    for result in results
    for number, trial in enumerate(result["trials"])
  )
  optional = [*rows.columns.intersection(["gains_ignored"])]
  optional += shared_column(results)
  columns = [c for c in RUN_COLUMNS if c not in _other_metrics(rows)]
  table = rows.reindex(columns=[*columns, *optional])
  # Whole numbers stay whole in a column with gaps.
  whole = ["examples_scored", "skipped_updates", "diverged_step", *optional]
  return table.astype(dict.fromkeys(whole, "Int64"))


def _other_metrics(rows: Iterable[str]) -> set[str]:
  """Returns the metrics that are not of the kind of labels of some rows."""
  names = {*rows}
  if "r2" in names:
    return {*METRICS} - {"r2", "loss"}
  return {"r2"} | ({"top3"} - names if "top1" in names else set())


def _scored(trial: dict[str, Any]) -> dict[str, Any]:
  """Returns a trial with the number of candidates that it scored."""
  return trial if trial.get("diverged_step") else {"examples_scored": 0} | trial


def shared_column(results: Sequence[Mapping[str, Any]]) -> list[str]:
  """Returns the column of how many runs share scores, if any do."""
  name = "scores_shared_by"
  return [name] if any(r.get(name, 1) > 1 for r in results) else []


def summary_table(
  workdir: pathlib.Path, results: list[dict[str, Any]]
) -> pd.DataFrame:
  """Returns summary.csv: a row per sampler.

  Standard deviations are the sample's, over trials. Differences are paired
  with the baseline, with the interval of `bootstrap.paired_bootstrap`. Diverged
  trials are ignored, and counted in `trials_diverged`. The area under the ROC
  curve, `auc`, has no interval: it is no mean over examples.
  """
  rows = []
  for result in results:
    name, baseline = result["sampler"], result["baseline"]
    values = per_example(workdir, name)
    base = values if name == baseline else per_example(workdir, baseline)
    diverged = len(diverged_trials(result))
    row = {
      "sampler": name,
      "baseline": baseline,
      "batch_size": result["batch_size"],
      "trials": len(result["trials"]) - diverged,
      "trials_diverged": diverged,
      "test_examples": values["loss"].shape[1],
    }
    metrics = [] if name == baseline else [*values]
    differences = [values[metric] - base[metric] for metric in metrics]
    intervals = bootstrap.paired_bootstraps(differences)
    intervals = dict(zip(metrics, intervals, strict=True))
    for metric in values:
      row[metric] = bootstrap.mean(values[metric])
      by_trial = bootstrap.finite_trials(values[metric]).mean(1)
      row[f"{metric}_std"] = pd.Series(by_trial).std()  # NaN of a single one
      if metric in intervals:
        columns = (f"{metric}_{part}" for part in ("difference", "low", "high"))
        row |= zip(columns, intervals[metric], strict=True)
    auc = pd.Series(
      [t["auc"] for t in result["trials"] if "auc" in t], dtype=float
    )
    row |= {"auc": auc.mean(), "auc_std": auc.std()} if len(auc) else {}
    for column in ("train_seconds", "scoring_seconds", "flops_per_step"):
      row[column] = result[column]
    scored = [_scored(trial) for trial in result["trials"]]
    counts = pd.DataFrame(scored).get("examples_scored", pd.Series(dtype=float))
    row["examples_seen"] = result["examples_seen"]
    row["examples_scored"] = counts.mean()
    # Results of older versions lack them.
    for column in ("scores_flops", "flops", *shared_column(results)):
      row[column] = result.get(column, math.nan)
    rows.append(row)
  return pd.DataFrame(rows)


def flops_ratio(table: pd.DataFrame) -> pd.Series:
  """Returns the FLOPs per example of each sampler over its baseline's."""
  # Per example, because a baseline may have another batch size.
  flops = table["flops_per_step"].astype(float) / table["batch_size"]
  by_name = dict(zip(table["sampler"], flops, strict=True))
  return flops / table["baseline"].map(by_name)


def total_flops_ratio(table: pd.DataFrame) -> pd.Series:
  """Returns the FLOPs of each run in all, over its baseline's."""
  flops = table.get("flops", pd.Series(math.nan, table.index)).astype(float)
  by_name = dict(zip(table["sampler"], flops, strict=True))
  return flops / table["baseline"].map(by_name)


def diverged_samplers(summary: pd.DataFrame) -> list[str]:
  """Returns the samplers all of whose trials diverged."""
  return summary.loc[summary["trials"] == 0, "sampler"].tolist()


def write_tables(workdir: pathlib.Path) -> pd.DataFrame:
  """Writes results.csv and summary.csv; returns the summary."""
  results = read_results(workdir)
  summary = summary_table(workdir, results)
  write_csv(workdir / "results.csv", runs_table(results))
  write_csv(workdir / "summary.csv", summary)
  return summary


def to_csv(table: pd.DataFrame) -> bytes:
  """Returns a table as a file for `read_csv`, with numbers to six digits.

  Texts that are formulas get a leading quote; see `files.escape_formula`.
  """
  escape = files.escape_formula
  escaped = table.rename(columns=escape).map(escape)
  return escaped.to_csv(index=False, float_format="%.6g").encode()


def write_csv(path: pathlib.Path, table: pd.DataFrame) -> None:
  """Writes the `to_csv` of a table."""
  content = to_csv(table)
  files.write_file(path, lambda file: file.write(content))


def read_csv(path: pathlib.Path, texts: Sequence[str]) -> pd.DataFrame:
  """Reads a file of `to_csv`; the columns `texts` are never numbers."""
  files.check_regular(path)
  table = pd.read_csv(
    path, dtype=dict.fromkeys(texts, str), keep_default_na=False, na_values=""
  )
  plain = files.unescape_formula
  return table.rename(columns=plain).map(plain)
