"""The points and settings of a trial that trackers show."""

from collections.abc import Mapping
from typing import Any

from alcurr.experiments.config import schema
from alcurr.experiments.loggers import Row

# TensorBoard sorts the groups by name; images are in `visual`, after the rest.
DESCRIPTIONS = {
  "accuracy/top1": "Top-1 accuracy on the valid pool.",
  "accuracy/top3": "Top-3 accuracy on the valid pool.",
  "accuracy/map3": "Mean average precision at 3 on the valid pool.",
  "loss/train": "Mean loss of the training batches since the last point.",
  "loss/valid": "Loss on the valid pool.",
  "sampler/coverage": "Share of the training pool that was trained on.",
  "sampler/effective_sample_size": "Effective number of examples trained on "
  "(Kish).",
  "sampler/gain": "Mean gain of the training batches since the last point.",
  "test/top1": "Top-1 accuracy on the test pool, at the end.",
  "test/top3": "Top-3 accuracy on the test pool, at the end.",
  "test/map3": "Mean average precision at 3 on the test pool, at the end.",
  "test/loss": "Loss on the test pool, at the end.",
}


def row_points(row: Row) -> dict[str, float]:
  """Returns the finite numbers of a row by tag."""
  valid = row.get("valid") or {}
  return _finite(
    {
      "accuracy/top1": valid.get("top1"),
      "accuracy/top3": valid.get("top3"),
      "accuracy/map3": valid.get("map3"),
      "loss/train": row.get("train_loss"),
      "loss/valid": valid.get("loss"),
      "sampler/coverage": row.get("coverage"),
      "sampler/effective_sample_size": row.get("effective_sample_size"),
      "sampler/gain": row.get("gain"),
    }
  )


def test_points(trial: Mapping[str, Any]) -> dict[str, float]:
  """Returns the test scores of a trial of result.json; none if it diverged."""
  metrics = ("top1", "top3", "map3", "loss")
  return _finite({f"test/{metric}": trial.get(metric) for metric in metrics})


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
  # A number that is not finite is None in JSON.
  return {tag: float(v) for tag, v in values.items() if v is not None}


def divergence(trial: Mapping[str, Any]) -> str | None:
  """Returns how a trial of result.json diverged; None if it did not."""
  if not trial.get("diverged_step"):
    return None
  return f"step {trial['diverged_step']}: {trial['divergence_reason']}"


def run_settings(
  config: Mapping[str, Any], name: str, trial: int
) -> dict[str, Any]:
  """Returns the settings that decide a trial, by name.

  `sampler` is its name in the experiment, `sampler.<argument>` its arguments,
  and `seed` the seed of the trial. The others are fields of the config, with
  the overrides of the sampler's `run`.
  """
  sampler = dict(config["samplers"][name])
  override = schema.flatten(sampler.pop("run", {}))
  fields = {
    field: value
    for field, value in (schema.flatten(config) | override).items()
    if not schema.is_free(field) and field.split(".")[0] in _SECTIONS
  }
  own = {"sampler": name, "trial": trial, "seed": config["seed"] + trial}
  return fields | schema.flatten({"sampler": sampler}) | own


# Not `samplers`, nor the fields that only the report reads.
_SECTIONS = {field.split(".")[0] for field in schema.FIELDS}
