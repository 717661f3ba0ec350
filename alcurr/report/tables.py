"""results.csv, summary.csv and the table at the end of an experiment."""

import io
import pathlib
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alcurr import writer

METRICS = ("top1", "top3", "map3", "loss")
RUN_COLUMNS = (
  *("sampler", "batch_size", "trial", "top1", "top3", "map3", "loss"),
  *("examples_seen", "steps", "train_seconds", "scoring_seconds"),
  "flops_per_step",
)


class Interval(NamedTuple):
  mean: float
  low: float
  high: float


def paired_bootstrap(
  difference: np.ndarray, resamples: int = 2000, seed: int = 0
) -> Interval:
  """The mean of paired differences and its 95 % interval.

  Trials and test examples are both resampled with replacement, so that the
  interval holds the noise of either (Owen, 2007, "The pigeonhole bootstrap":
  it errs on the wide side).

  Args:
    difference: [S, N], of the same trial and the same example.
    resamples: number of bootstrap resamples.
    seed: of the resampling.
  """
  rng = np.random.default_rng(seed)
  num_trials, num_examples = difference.shape
  means = np.empty(resamples)
  for i in range(resamples):
    example = rng.integers(num_examples, size=num_examples)
    trial = rng.integers(num_trials, size=num_trials)
    by_trial = difference[:, example].mean(1)
    means[i] = by_trial[trial].mean()
  low, high = np.quantile(means, [0.025, 0.975])
  return Interval(float(difference.mean()), float(low), float(high))


def sampler_names(workdir: pathlib.Path) -> list[str]:
  """An experiment's samplers, the baseline first."""
  config = writer.read_json(workdir / "config.json")
  return sorted(config["samplers"], key=lambda n: n != config["baseline"])


def read_results(workdir: pathlib.Path) -> list[dict[str, Any]]:
  """The result.json of each finished sampler, the baseline's first."""
  names = sampler_names(workdir)
  paths = [workdir / "runs" / name / "result.json" for name in names]
  return [writer.read_json(path) for path in paths if path.exists()]


def _per_example(workdir: pathlib.Path, name: str) -> dict[str, np.ndarray]:
  """Each metric of each test example, [S, N]."""
  with np.load(
    workdir / "runs" / name / "test.npz", allow_pickle=False
  ) as file:
    rank, loss = file["rank"], file["loss"]
  return {
    "top1": (rank < 1).astype(np.float64),
    "top3": (rank < 3).astype(np.float64),
    "map3": np.where(rank < 3, 1 / (rank + 1), 0),
    "loss": loss.astype(np.float64),
  }


def runs_table(results: list[dict[str, Any]]) -> pd.DataFrame:
  """A row per sampler and trial."""
  rows = [
    {column: (result | trial).get(column) for column in RUN_COLUMNS}
    | {"trial": number}
    for result in results
    for number, trial in enumerate(result["trials"])
  ]
  return pd.DataFrame(rows, columns=list(RUN_COLUMNS))


def summary_table(
  workdir: pathlib.Path, results: list[dict[str, Any]], baseline: str
) -> pd.DataFrame:
  """A row per sampler: mean, deviation, and difference to the baseline.

  The standard deviation is the sample's, over trials; the differences carry
  the interval of `paired_bootstrap`.
  """
  base = _per_example(workdir, baseline)
  rows = []
  for result in results:
    name = result["sampler"]
    mine = base if name == baseline else _per_example(workdir, name)
    row: dict[str, Any] = {
      "sampler": name,
      "batch_size": result["batch_size"],
      "trials": len(result["trials"]),
      "test_examples": mine["top1"].shape[1],
    }
    for metric in METRICS:
      by_trial = mine[metric].mean(1)
      row[metric] = by_trial.mean()
      row[f"{metric}_std"] = by_trial.std(ddof=1) if len(by_trial) > 1 else None
      if name != baseline:
        interval = paired_bootstrap(mine[metric] - base[metric])
        row[f"{metric}_difference"] = interval.mean
        row[f"{metric}_low"] = interval.low
        row[f"{metric}_high"] = interval.high
    for column in ("train_seconds", "scoring_seconds", "flops_per_step"):
      row[column] = result[column]
    rows.append(row)
  return pd.DataFrame(rows)


def render(summary: pd.DataFrame, baseline: str) -> str:
  """The summary as the text table of a terminal, accuracies in percent."""

  def plus_minus(row: pd.Series, metric: str) -> str:
    deviation = row[f"{metric}_std"]
    tail = "" if pd.isna(deviation) else f" ± {100 * deviation:.2f}"
    return f"{100 * row[metric]:.2f}{tail}"

  def difference(row: pd.Series, metric: str) -> str:
    if row["sampler"] == baseline:
      return "baseline"
    mean, low, high = (
      100 * row[f"{metric}_{part}"] for part in ("difference", "low", "high")
    )
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"

  flops = summary.set_index("sampler")["flops_per_step"]
  text = pd.DataFrame(
    {
      "sampler": row["sampler"],
      "top-1 %": plus_minus(row, "top1"),
      "top-3 %": plus_minus(row, "top3"),
      "loss": f"{row['loss']:.4f}",
      f"top-1 - {baseline}, 95 %": difference(row, "top1"),
      f"top-3 - {baseline}, 95 %": difference(row, "top3"),
      "train s": f"{row['train_seconds']:.1f}",
      "scoring s": f"{row['scoring_seconds']:.1f}",
      "FLOPs": f"x {row['flops_per_step'] / flops[baseline]:.3f}",
    }
    for _, row in summary.iterrows()
  )
  return text.to_string(index=False)


def write_tables(workdir: pathlib.Path, baseline: str) -> pd.DataFrame:
  """Writes results.csv and summary.csv; returns the summary."""
  results = read_results(workdir)
  summary = summary_table(workdir, results, baseline)
  for name, table in (
    ("results.csv", runs_table(results)),
    ("summary.csv", summary),
  ):
    text = io.StringIO()
    table.to_csv(text, index=False, float_format="%.6g")
    writer.write_file(
      workdir / name,
      lambda file, text=text: file.write(text.getvalue().encode()),
    )
  return summary
