"""results.csv, summary.csv and the table at the end of an experiment."""

import functools
import io
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alcurr.core import files, paths
from alcurr.core.errors import UserError

METRICS = ("top1", "top3", "map3", "loss")
RUN_COLUMNS = (
  *("sampler", "batch_size", "trial", "top1", "top3", "map3", "loss"),
  *("examples_seen", "steps", "train_seconds", "scoring_seconds"),
  *("flops_per_step", "coverage", "effective_sample_size"),
  *("skipped_updates", "diverged_step", "divergence_reason"),
)


class Interval(NamedTuple):
  mean: float
  low: float
  high: float


def paired_bootstrap(
  difference: np.ndarray, resamples: int = 2000, seed: int = 0
) -> Interval:
  """The mean of paired differences and its 95 % interval.

  Args:
    difference: [S, N], of the same trial and the same example; a trial that
      is NaN is left out, and where all are the interval is NaN too.
    resamples: number of bootstrap resamples.
    seed: of the resampling.
  """
  if not len(without_wrong(difference)):
    return Interval(math.nan, math.nan, math.nan)
  means = resampled_means(difference, resamples, seed)
  low, high = np.quantile(means, [0.025, 0.975])
  return Interval(mean(difference), float(low), float(high))


def without_wrong(by_example: np.ndarray) -> np.ndarray:
  """The trials of [S, N] that are numbers: those that did not go wrong."""
  return by_example[np.isfinite(by_example).all(1)]


def mean(by_example: np.ndarray) -> float:
  """The mean of [S, N] over the trials that did not go wrong, or NaN."""
  good = without_wrong(by_example)
  return float(good.mean()) if len(good) else math.nan


def resampled_means(
  difference: np.ndarray, resamples: int = 2000, seed: int = 0
) -> np.ndarray:
  """The means of bootstrap resamples of paired differences, [R] float64.

  Trials and test examples are both resampled with replacement, so that the
  means hold the noise of either (Owen, 2007, "The pigeonhole bootstrap": it
  errs on the wide side).

  Args:
    difference: [S, N], of the same trial and the same example; trials that
      are NaN are left out, and one at least is not.
    resamples: R.
    seed: of the resampling.
  """
  difference = without_wrong(difference)
  num_trials, num_examples = difference.shape
  example, trial = _resamples(num_trials, num_examples, resamples, seed)
  difference = difference.astype(np.float32)
  by_trial = np.concatenate(
    [
      # In blocks: as floats the counts are four times as large.
      example[i : i + 100].astype(np.float32) @ difference.T
      for i in range(0, resamples, 100)
    ]
  )
  return (by_trial * trial).sum(1) / (num_examples * num_trials)


@functools.lru_cache(maxsize=2)  # the same for all samplers of an experiment
def _resamples(
  num_trials: int, num_examples: int, resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """How often each example [R, N] and each trial [R, S] is in a resample."""
  rng = np.random.default_rng(seed)
  counts = []
  for size in (num_examples, num_trials):
    draws = (rng.integers(size, size=size) for _ in range(resamples))
    # An example is in a resample once on average, and never 255 times.
    counts.append(
      np.stack([np.bincount(d, minlength=size).astype(np.uint8) for d in draws])
    )
  return counts[0], counts[1]


def sampler_names(workdir: pathlib.Path) -> list[str]:
  """An experiment's samplers, the baseline first.

  Raises:
    UserError: a name that would lead out of the workdir, as a file's name.
  """
  config = files.read_json(workdir / "config.json")
  for name in config["samplers"]:
    paths.check_plain(name, f"{workdir}: a sampler")
  return sorted(config["samplers"], key=lambda n: n != config["baseline"])


def read_results(workdir: pathlib.Path) -> list[dict[str, Any]]:
  """The result.json of each finished sampler, the baseline's first.

  Raises:
    UserError: one that is no result of that sampler.
  """
  results = []
  for name in sampler_names(workdir):
    path = workdir / "runs" / name / "result.json"
    if path.exists():
      result = files.read_record(path)
      if result is None or result.get("sampler") != name:
        raise UserError(
          f"{path} is damaged; delete it, and that run is done again."
        )
      results.append(result)
  return results


def wrong_trials(result: dict[str, Any]) -> list[int]:
  """The trials of a result.json that went wrong."""
  return [i for i, t in enumerate(result["trials"]) if t.get("diverged_step")]


def per_example(workdir: pathlib.Path, name: str) -> dict[str, np.ndarray]:
  """Each metric of each test example, [S, N]; NaN of a trial gone wrong.

  So a difference of two samplers is NaN in the trials that either lacks.
  """
  folder = workdir / "runs" / name
  with np.load(folder / "test.npz", allow_pickle=False) as file:
    rank, loss = file["rank"], file["loss"]
  metrics = {
    "top1": (rank < 1).astype(np.float64),
    "top3": (rank < 3).astype(np.float64),
    "map3": np.where(rank < 3, 1 / (rank + 1), 0),
    "loss": loss.astype(np.float64),
  }
  wrong = wrong_trials(files.read_json(folder / "result.json"))
  for values in metrics.values():
    values[wrong] = math.nan
  return metrics


def runs_table(results: list[dict[str, Any]]) -> pd.DataFrame:
  """A row per sampler and trial; of one gone wrong when and of what."""
  rows = [
    {column: (result | trial).get(column) for column in RUN_COLUMNS}
    | {"trial": number}
    for result in results
    for number, trial in enumerate(result["trials"])
  ]
  table = pd.DataFrame(rows, columns=list(RUN_COLUMNS))
  # Whole numbers stay whole beside what is empty.
  whole = {column: "Int64" for column in ("skipped_updates", "diverged_step")}
  return table.astype(whole)


def summary_table(
  workdir: pathlib.Path, results: list[dict[str, Any]], baseline: str
) -> pd.DataFrame:
  """A row per sampler: mean, deviation, and difference to the baseline.

  The standard deviation is the sample's, over trials; the differences carry
  the interval of `paired_bootstrap`. All are of the `trials` that did not go
  wrong, and of differences those whose baseline's did not either; the others
  are counted in `trials_wrong`.

  Args:
    workdir: of the experiment.
    results: of `read_results`.
    baseline: the experiment's; a result's own goes before it.
  """
  bases: dict[str, dict[str, np.ndarray]] = {}
  rows = []
  for result in results:
    name, base_name = result["sampler"], result.get("baseline") or baseline
    if base_name not in bases:
      bases[base_name] = per_example(workdir, base_name)
    base, mine = bases[base_name], per_example(workdir, name)
    row: dict[str, Any] = {
      "sampler": name,
      "baseline": base_name,
      "batch_size": result["batch_size"],
      "trials": len(result["trials"]) - len(wrong_trials(result)),
      "trials_wrong": len(wrong_trials(result)),
      "test_examples": mine["top1"].shape[1],
    }
    for metric in METRICS:
      by_trial = without_wrong(mine[metric]).mean(1)
      row[metric] = mean(mine[metric])
      row[f"{metric}_std"] = (
        by_trial.std(ddof=1) if len(by_trial) > 1 else math.nan
      )
      if name != base_name:
        interval = paired_bootstrap(mine[metric] - base[metric])
        row[f"{metric}_difference"] = interval.mean
        row[f"{metric}_low"] = interval.low
        row[f"{metric}_high"] = interval.high
    for column in ("train_seconds", "scoring_seconds", "flops_per_step"):
      row[column] = result[column]
    rows.append(row)
  return pd.DataFrame(rows)


def trials_in_words(row: Mapping[str, Any]) -> str:
  """How many trials a row of summary.csv is of: "3", or "2 of 3"."""
  good, wrong = row["trials"], row.get("trials_wrong", 0)
  return f"{good:.0f} of {good + wrong:.0f}" if wrong else f"{good:.0f}"


def failed(summary: pd.DataFrame) -> list[str]:
  """The samplers of whose trials all went wrong."""
  return summary.loc[summary["trials"] == 0, "sampler"].tolist()


def render(summary: pd.DataFrame) -> str:
  """The summary as the text table of a terminal, accuracies in percent."""

  def plus_minus(row: pd.Series, metric: str) -> str:
    if pd.isna(row[metric]):
      return "-"
    deviation = row[f"{metric}_std"]
    tail = "" if pd.isna(deviation) else f" ± {100 * deviation:.2f}"
    return f"{100 * row[metric]:.2f}{tail}"

  def difference(row: pd.Series, metric: str) -> str:
    if row["sampler"] == row["baseline"]:
      return "baseline"
    middle, low, high = (
      100 * row[f"{metric}_{part}"] for part in ("difference", "low", "high")
    )
    return (
      "-" if pd.isna(middle) else f"{middle:+.2f} [{low:+.2f}, {high:+.2f}]"
    )

  by_name = summary.set_index("sampler")
  # Of an example: a baseline may have batches of another size.
  cost = by_name["flops_per_step"] / by_name["batch_size"]
  named = summary["baseline"].unique()
  against = named[0] if len(named) == 1 else "baseline"
  some_wrong = summary["trials_wrong"].any()
  text = pd.DataFrame(
    {
      "sampler": row["sampler"],
      **({"trials": trials_in_words(row)} if some_wrong else {}),
      "top-1 %": plus_minus(row, "top1"),
      "top-3 %": plus_minus(row, "top3"),
      "loss": "-" if pd.isna(row["loss"]) else f"{row['loss']:.4f}",
      f"top-1 - {against}, 95 %": difference(row, "top1"),
      f"top-3 - {against}, 95 %": difference(row, "top3"),
      "train s": f"{row['train_seconds']:.1f}",
      "scoring s": f"{row['scoring_seconds']:.1f}",
      "FLOPs": f"x {cost[row['sampler']] / cost[row['baseline']]:.3f}",
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
    files.write_file(
      workdir / name,
      lambda file, text=text: file.write(text.getvalue().encode()),
    )
  return summary
