"""What trackers show of a run: its rows by tag, and its settings."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from alcurr.experiments.config import schema
from alcurr.experiments.loggers import Row

# The groups in the order in which TensorBoard has them, by the alphabet.
# Pictures are in `visual`, behind all curves.
_ROW = {
  "sampler/coverage": "coverage",
  "sampler/effective_sample_size": "effective_sample_size",
  "sampler/gain": "gain",
  "loss/train": "train_loss",
}
_METRICS = ("top1", "top3", "map3")

DESCRIPTIONS = {
  "accuracy/top1": "Top-1 accuracy on the valid pool.",
  "accuracy/top3": "Top-3 accuracy on the valid pool.",
  "accuracy/map3": "Mean average precision at 3 on the valid pool.",
  "loss/train": "Mean loss of the training batches since the last point.",
  "loss/valid": "Loss on the valid pool.",
  "sampler/coverage": "Share of the training pool that was trained on.",
  "sampler/effective_sample_size": "Kish's, of the examples by how often each "
  "was trained on.",
  "sampler/gain": "Mean gain of the training batches since the last point.",
  "test/top1": "Top-1 accuracy on the test pool, at the end.",
  "test/top3": "Top-3 accuracy on the test pool, at the end.",
  "test/map3": "Mean average precision at 3 on the test pool, at the end.",
  "test/loss": "Loss on the test pool, at the end.",
}


def scalars(row: Row) -> dict[str, float]:
  """The numbers of a row by tag; those that are not finite are left out."""
  found = {tag: row.get(key) for tag, key in _ROW.items()}
  if valid := row.get("valid"):
    found |= {f"accuracy/{metric}": valid.get(metric) for metric in _METRICS}
    found["loss/valid"] = valid.get("loss")
  return _known(found)


def test_scalars(trial: Mapping[str, Any]) -> dict[str, float]:
  """Of a trial of a result.json; none of one that went wrong."""
  return _known({f"test/{m}": trial.get(m) for m in (*_METRICS, "loss")})


def _known(found: Mapping[str, float | None]) -> dict[str, float]:
  return {tag: float(v) for tag, v in found.items() if v is not None}


def seconds(row: Row) -> float:
  """Of training, of one trial, up to a row; an older log has no clock."""
  return float(row.get("train_seconds") or 0)


def run_settings(
  config: Mapping[str, Any], name: str, trial: int
) -> dict[str, Any]:
  """All that decides a trial of a sampler's run, by name.

  `sampler` is its name in the experiment, `sampler.<argument>` what it was
  given; `seed` is the trial's own. The others are fields of the config, with
  what the run has of its own.
  """
  sampler = dict(config["samplers"][name])
  run = sampler.pop("run", {})
  shared = {k: v for k, v in config.items() if k in _DECIDING}
  flat = schema.flatten(shared) | schema.flatten(run)
  flat = {k: v for k, v in flat.items() if not schema.is_free(k)}
  named = schema.flatten({"sampler": sampler})
  own = {"sampler": name, "trial": trial, "seed": config["seed"] + trial}
  return own | named | {k: v for k, v in flat.items() if k != "seed"}


# The report's own fields decide nothing.
_DECIDING = {name.split(".")[0] for name in schema.FIELDS}


def read_rows(path: pathlib.Path, size: int | None = None) -> list[Row]:
  """The first so many bytes of a metrics.jsonl; None: all its whole lines."""
  content = path.read_bytes()[:size]
  # A run that was killed may have left half a line.
  whole = content[: content.rfind(b"\n") + 1]
  return [json.loads(line) for line in whole.splitlines()]
