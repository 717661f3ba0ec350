"""results.csv and summary.csv, and the statistics in them."""

import functools
import math
import pathlib
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alcurr.core import files, paths
from alcurr.core.errors import UserError

METRICS = ("top1", "top3", "map3", "loss")
RUN_COLUMNS = (
  *("sampler", "batch_size", "trial", *METRICS),
  *("examples_seen", "steps", "train_seconds", "scoring_seconds"),
  *("flops_per_step", "coverage", "effective_sample_size"),
  *("skipped_updates", "diverged_step", "divergence_reason"),
)


class Interval(NamedTuple):
  """A mean with the bounds of its 95 % interval."""

  mean: float
  low: float
  high: float


def paired_bootstrap(difference: np.ndarray, resamples: int = 2000) -> Interval:
  """Returns the mean of paired differences and its 95 % interval.

  Args:
    difference: [S, N], between the same trials and the same examples. Trials
      that are NaN are ignored; if all are, so is the interval.
    resamples: number of bootstrap resamples.
  """
  if not len(finite_trials(difference)):
    return Interval(math.nan, math.nan, math.nan)
  means = resampled_means(difference, resamples)
  low, high = np.quantile(means, [0.025, 0.975])
  return Interval(mean(difference), float(low), float(high))


def finite_trials(values: np.ndarray) -> np.ndarray:
  """Returns the trials of [S, N] that did not diverge."""
  return values[np.isfinite(values).all(1)]


def mean(values: np.ndarray) -> float:
  """Returns the mean of [S, N] over its finite trials; NaN without any."""
  finite = finite_trials(values)
  return float(finite.mean()) if len(finite) else math.nan


def resampled_means(
  difference: np.ndarray, resamples: int = 2000
) -> np.ndarray:
  """Returns the means of bootstrap resamples of paired differences.

  Trials and examples are both resampled with replacement, so the means carry
  the noise of both. The interval errs on the wide side (Owen, 2007, "The
  pigeonhole bootstrap").

  Args:
    difference: [S, N], with at least one finite trial; others are ignored.
    resamples: R, the length of the result.
  """
  difference = finite_trials(difference).astype(np.float32)
  num_trials, num_examples = difference.shape
  example, trial = _resample_counts(num_trials, num_examples, resamples)
  by_trial = np.concatenate(
    [
      # In blocks: as floats the counts are four times as large.
      example[i : i + 100].astype(np.float32) @ difference.T
      for i in range(0, resamples, 100)
    ]
  )
  return (by_trial * trial).sum(1) / (num_examples * num_trials)


@functools.lru_cache(maxsize=2)  # the same for all samplers of an experiment
def _resample_counts(
  num_trials: int, num_examples: int, resamples: int
) -> tuple[np.ndarray, np.ndarray]:
  """Counts each example [R, N] and each trial [R, S] in each resample."""
  rng = np.random.default_rng(0)

  def count(size: int) -> np.ndarray:
    draws = (rng.integers(size, size=size) for _ in range(resamples))
    # An example is in a resample once on average, and never 255 times.
    counts = (np.bincount(draw, minlength=size) for draw in draws)
    return np.stack([number.astype(np.uint8) for number in counts])

  return count(num_examples), count(num_trials)


def sampler_names(workdir: pathlib.Path) -> list[str]:
  """Returns an experiment's samplers, the baseline first.

  Raises:
    UserError: a name that, as a folder's name, would leave the workdir.
  """
  config = files.read_json(workdir / "config.json")
  for name in config["samplers"]:
    paths.check_plain(name, f"{workdir}: a sampler")
  return sorted(config["samplers"], key=lambda n: n != config["baseline"])


def read_results(workdir: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the result.json of each finished sampler, the baseline's first.

  `baseline` is the experiment's where a result names none.

  Raises:
    UserError: a file that is not the result of its sampler.
  """
  results = []
  baseline = files.read_json(workdir / "config.json")["baseline"]
  for name in sampler_names(workdir):
    path = workdir / "runs" / name / "result.json"
    if path.exists():
      result = files.read_record(path)
      if result is None or result.get("sampler") != name:
        text = f"expected the result of {name}; delete it to repeat the run"
        raise UserError("damaged", str(path), text)
      results.append({"baseline": baseline} | result)
  return results


def diverged_trials(result: dict[str, Any]) -> list[int]:
  """Returns the trials of a result.json that diverged."""
  return [i for i, t in enumerate(result["trials"]) if t.get("diverged_step")]


def arm_partition(workdir: pathlib.Path, name: str) -> str | None:
  """Returns the partition whose arms a sampler draws, or None."""
  path = workdir / "runs" / name / "sampler_spec.json"
  return files.read_json(path)["arm_partition"] if path.exists() else None


def per_example(workdir: pathlib.Path, name: str) -> dict[str, np.ndarray]:
  """Returns each metric of each test example, [S, N].

  Diverged trials are NaN. A difference between two samplers is then NaN
  wherever either of them diverged.
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
  diverged = diverged_trials(files.read_json(folder / "result.json"))
  for values in metrics.values():
    values[diverged] = math.nan
  return metrics


def runs_table(results: list[dict[str, Any]]) -> pd.DataFrame:
  """Returns results.csv: a row per sampler and trial.

  `examples_scored` is a column if a sampler scores examples before it
  selects the batch, and `gains_ignored` if gains were not finite.
  """
  rows = pd.DataFrame(
    result | trial | {"trial": number}
    for result in results
    for number, trial in enumerate(result["trials"])
  )
  optional = rows.columns.intersection(["examples_scored", "gains_ignored"])
  # Whole numbers stay whole in a column with gaps.
  whole = ["skipped_updates", "diverged_step", *optional]
  table = rows.reindex(columns=[*RUN_COLUMNS, *optional])
  return table.astype(dict.fromkeys(whole, "Int64"))


def summary_table(
  workdir: pathlib.Path, results: list[dict[str, Any]]
) -> pd.DataFrame:
  """Returns summary.csv: a row per sampler.

  Standard deviations are of the sample of trials. Differences are paired with
  the baseline and have the interval of `paired_bootstrap`. All ignore
  diverged trials, which `trials_diverged` counts.
  """
  rows = []
  for result in results:
    name, baseline = result["sampler"], result["baseline"]
    values = per_example(workdir, name)
    base = values if name == baseline else per_example(workdir, baseline)
    diverged = len(diverged_trials(result))
    row: dict[str, Any] = {
      "sampler": name,
      "baseline": baseline,
      "batch_size": result["batch_size"],
      "trials": len(result["trials"]) - diverged,
      "trials_diverged": diverged,
      "test_examples": values["top1"].shape[1],
    }
    for metric in METRICS:
      by_trial = finite_trials(values[metric]).mean(1)
      row[metric] = mean(values[metric])
      several = len(by_trial) > 1
      row[f"{metric}_std"] = by_trial.std(ddof=1) if several else math.nan
      if name != baseline:
        interval = paired_bootstrap(values[metric] - base[metric])
        row[f"{metric}_difference"] = interval.mean
        row[f"{metric}_low"] = interval.low
        row[f"{metric}_high"] = interval.high
    for column in ("train_seconds", "scoring_seconds", "flops_per_step"):
      row[column] = result[column]
    rows.append(row)
  return pd.DataFrame(rows)


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


def write_csv(path: pathlib.Path, table: pd.DataFrame) -> None:
  """Writes a table, with numbers to six digits."""
  text = table.to_csv(index=False, float_format="%.6g")
  files.write_file(path, lambda file: file.write(text.encode()))
