"""The points and settings of a trial that trackers show."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from alcurr.experiments.config import schema

# By tag: a field of a row, or of a trial of result.json, and its description.
# TensorBoard sorts the groups by name; images are in `visual`, after the rest.
_MEASURED = {
  "accuracy/top1": ("valid.top1", "Top-1 accuracy on valid."),
  "accuracy/top3": ("valid.top3", "Top-3 accuracy on valid."),
  "accuracy/map3": ("valid.map3", "Mean average precision at 3 on valid."),
  "accuracy/balanced": (
    "valid.balanced_accuracy",
    "Mean over the classes of their top-1 on valid.",
  ),
  "accuracy/auc": ("valid.auc", "Mean area under the ROC curves on valid."),
  "accuracy/r2": ("valid.r2", "Share of the targets' variance, on valid."),
  "loss/train": ("train_loss", "Mean training loss since the last point."),
  "loss/valid": ("valid.loss", "Loss on valid."),
  "sampler/coverage": ("coverage", "Share of the training pool trained on."),
  "sampler/effective_sample_size": (
    "effective_sample_size",
    "Effective number of examples trained on (Kish).",
  ),
  "sampler/gain": ("gain", "Mean gain of the batches since the last point."),
  "test/top1": ("top1", "Top-1 accuracy on test, at the end."),
  "test/top3": ("top3", "Top-3 accuracy on test, at the end."),
  "test/map3": ("map3", "Mean average precision at 3 on test, at the end."),
  "test/balanced": (
    "balanced_accuracy",
    "Mean over the classes of their top-1 on test, at the end.",
  ),
  "test/auc": ("auc", "Mean area under the ROC curves on test, at the end."),
  "test/r2": ("r2", "Share of the targets' variance on test, at the end."),
  "test/loss": ("loss", "Loss on test, at the end."),
}
CURVES = _MEASURED | {
  f"std/{tag}": (f"std.{field}", f"{text[:-1]}; standard deviation of trials.")
  for tag, (field, text) in _MEASURED.items()
}


def row_points(row: Mapping[str, Any], test: bool = False) -> dict[str, float]:
  """Returns the finite numbers of a row by tag.

  With `test`, the row is a trial of result.json; it has none if it diverged.
  """
  flat = schema.flatten(row)
  return {
    tag: float(flat[field])
    for tag, (field, _) in CURVES.items()
    # A number that is not finite is None in JSON.
    if ("test/" in tag) == test and flat.get(field) is not None
  }


def mean_rows(
  rows: Sequence[Mapping[str, Any]], trials: Collection[int]
) -> Iterator[dict[str, Any]]:
  """Yields the `mean_row` of each step that all of the trials have reached."""
  by_step: dict[int, list[Mapping[str, Any]]] = {}
  for row in rows:
    if row["trial"] in trials:
      by_step.setdefault(row["examples_seen"], []).append(row)
  for seen, own in sorted(by_step.items()):
    if len(own) == len(trials):
      policy = [row["policy"] for row in own if row.get("policy") is not None]
      mean = {} if len(policy) < len(own) else {"policy": np.mean(policy, 0)}
      seconds = float(np.mean([row["train_seconds"] for row in own]))
      mean |= {"examples_seen": seen, "train_seconds": seconds}
      yield mean | mean_row(own)


def mean_row(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Returns the means of what all rows have, by field, and deviations.

  The standard deviations are estimates from a sample, as in summary.csv.
  """
  every = [schema.flatten(row) for row in rows]
  mean: dict[str, Any] = {}
  for field, _ in _MEASURED.values():
    values = [flat[field] for flat in every if flat.get(field) is not None]
    if len(values) == len(every):
      mean[field] = float(np.mean(values))
      mean[f"std.{field}"] = float(np.std(values, ddof=1))
  return mean


def run_settings(
  config: Mapping[str, Any], name: str, trial: int | str
) -> dict[str, Any]:
  """Returns the settings that decide a trial, by name.

  The fields of the config with the overrides of the sampler's `run`, the
  sampler's name and arguments (`sampler.<argument>`), and the seed of a trial
  that is a number.
  """
  sampler = dict(config["samplers"][name])
  fields = schema.flatten(config) | schema.flatten(sampler.pop("run", {}))
  # Neither `samplers` nor the fields that only the report reads.
  sections = {field.split(".")[0] for field in schema.FIELDS}
  fields = {
    field: value
    for field, value in fields.items()
    if not schema.is_free(field) and field.split(".")[0] in sections
  }
  own = {"sampler": name, "trial": trial}
  fields.pop("seed")
  if isinstance(trial, int):
    own["seed"] = config["seed"] + trial
  return fields | schema.flatten({"sampler": sampler}) | own
