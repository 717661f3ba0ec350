"""Files of an experiment, written by hand, and event files read by hand."""

import json
import pathlib
import struct
from typing import Any

import numpy as np
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from configs import default

NAMES = ("uniform", "bandit")
MEAN = "mean of 2"  # of the trials
STEPS = (10, 20, 30, 40)
CLASSES = ["cat", "dog & <b>cat</b>"]


def rows(name: str) -> list[dict[str, Any]]:
  """Four chunks of two trials; every second is evaluated, one has no loss."""
  arms = 1 if name == "uniform" else 3
  return [
    {
      "step": step,
      "examples_seen": 32 * step,
      "train_seconds": 0.25 * step + 0.001 * trial,
      "trial": trial,
      "train_loss": None if step == 30 else 40 / step + trial,
      "policy": [(1 - step / 40) / arms] * (arms - 1)
      + [1 - (1 - step / 40) * (arms - 1) / arms],
      "coverage": step / 50,
      "effective_sample_size": 10.5 * step,
      "skipped_updates": 0,
    }
    | ({"gain": 0.1 * step - trial} if arms > 1 else {})
    | (
      {
        "valid": {
          "top1": step / 100 + 0.01 * trial,
          "top3": 0.9,
          "map3": 0.8,
          "loss": 1.5 - step / 100,
          "balanced_accuracy": step / 200,
          "auc": 0.7,
          "top1_by_class": [0.1, 0.2],
        }
      }
      if step % 20 == 0
      else {}
    )
    for step in STEPS
    for trial in (0, 1)
  ]


def write_rows(workdir: pathlib.Path, name: str, count: int | None = None):
  """Writes the spec and the first rows of a run."""
  folder = workdir / "runs" / name
  folder.mkdir(parents=True, exist_ok=True)
  spec = {"arm_partition": None if name == "uniform" else "difficulty"}
  (folder / "sampler_spec.json").write_text(json.dumps(spec))
  lines = [json.dumps(row) + "\n" for row in rows(name)[:count]]
  (folder / "metrics.jsonl").write_text("".join(lines))


def write_result(workdir: pathlib.Path, name: str, diverged: bool = False):
  """Finishes a run, whose last trial may have diverged."""
  trials = [
    {
      **{"top1": 0.5 + trial / 10, "top3": 0.75, "map3": 0.625, "loss": 1.25},
      **{"balanced_accuracy": 0.375, "auc": 0.875},
    }
    for trial in (0, 1)
  ]
  if diverged:
    trials[1] = {"diverged_step": 35, "divergence_reason": "the loss"}
  result = {"sampler": name, "examples_seen": 1280, "steps": 40}
  path = workdir / "runs" / name / "result.json"
  path.write_text(json.dumps(result | {"trials": trials}))


def write(workdir: pathlib.Path) -> pathlib.Path:
  """Writes a finished experiment: config, runs, figures, page and gallery."""
  workdir.mkdir(parents=True)
  config = default.get_config()
  config.trials = 2
  config.seed = 7
  config.tracking = "none"
  (workdir / "config.json").write_text(json.dumps(config.to_dict()))
  for name in NAMES:
    write_rows(workdir, name)
    write_result(workdir, name)
  (workdir / "report.html").write_text("<p>report</p>")
  (workdir / "figures").mkdir()
  (workdir / "figures/curve.png").write_bytes(b"\x89PNG")
  image = np.arange(4 * 6 * 6, dtype=np.uint8).reshape(4, 6, 6, 1)
  number = np.arange(4)
  np.savez(
    workdir / "gallery.npz",
    **{"image": image, "index": number, "label": number % 2},
    difficulty=number.astype(np.float32),
  )
  arms = {"difficulty": {"drawings": [[0], [1, 2], [3]]}}
  drawings = {
    str(i): {"least": [i], "most": [i + 2], "random": [i]} for i in (0, 1)
  }
  gallery = {"class_names": CLASSES, "partitions": arms, "drawings": drawings}
  (workdir / "gallery.json").write_text(json.dumps(gallery))
  return workdir


def expected(name: str, trial: int | str) -> dict[str, list[tuple[int, float]]]:
  """Returns the points of each curve of a trial: (examples seen, value).

  Of the mean, also those of the standard deviations.
  """
  if trial == MEAN:
    curves = {}
    both = expected(name, 0), expected(name, 1)
    for tag, first in both[0].items():
      steps = [step for step, _ in first]
      values = [[value for _, value in trial[tag]] for trial in both]
      for prefix, summarize in (("", np.mean), ("std/", _deviation)):
        summary = summarize(np.array(values), 0).tolist()
        curves[prefix + tag] = list(zip(steps, summary, strict=True))
    return curves
  points: dict[str, list[tuple[int, float]]] = {}
  for row in rows(name):
    if row["trial"] != trial:
      continue
    valid = row.get("valid", {})
    for tag, value in {
      "loss/train": row["train_loss"],
      "sampler/coverage": row["coverage"],
      "sampler/effective_sample_size": row["effective_sample_size"],
      "sampler/gain": row.get("gain"),
      "accuracy/top1": valid.get("top1"),
      "accuracy/top3": valid.get("top3"),
      "accuracy/map3": valid.get("map3"),
      "accuracy/balanced": valid.get("balanced_accuracy"),
      "accuracy/auc": valid.get("auc"),
      "loss/valid": valid.get("loss"),
    }.items():
      if value is not None:
        points.setdefault(tag, []).append((row["examples_seen"], value))
  return points | {
    "test/top1": [(1280, 0.5 + trial / 10)],
    "test/top3": [(1280, 0.75)],
    "test/map3": [(1280, 0.625)],
    "test/loss": [(1280, 1.25)],
    "test/balanced": [(1280, 0.375)],
    "test/auc": [(1280, 0.875)],
  }


def _deviation(values: np.ndarray, axis: int) -> np.ndarray:
  return np.std(values, axis, ddof=1)


def events(folder: pathlib.Path) -> list[Event]:
  """Reads the one event file of a folder."""
  (path,) = folder.glob("events.out.tfevents.*")
  content, read, at = path.read_bytes(), [], 0
  while at < len(content):
    (length,) = struct.unpack_from("<Q", content, at)
    read.append(Event.FromString(content[at + 12 : at + 12 + length]))
    at += 12 + length + 4  # between two checksums
  assert at == len(content)
  return read


def points(folder: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
  """Reads the points of each curve of a run, in the order of the file."""
  curves: dict[str, list[tuple[int, float]]] = {}
  for event in events(folder):
    for value in event.summary.value:
      if value.WhichOneof("value") == "simple_value":
        point = (event.step, value.simple_value)
        curves.setdefault(value.tag, []).append(point)
  return curves


def images(folder: pathlib.Path) -> dict[str, list[tuple[int, bytes]]]:
  """Reads the images of a run by tag: (examples seen, PNG)."""
  images: dict[str, list[tuple[int, bytes]]] = {}
  for event in events(folder):
    for value in event.summary.value:
      if value.HasField("image"):
        png = value.image.encoded_image_string
        images.setdefault(value.tag, []).append((event.step, png))
  return images


def texts(folder: pathlib.Path) -> dict[str, str]:
  return {
    value.tag: value.tensor.string_val[0].decode()
    for event in events(folder)
    for value in event.summary.value
    if value.metadata.plugin_data.plugin_name == "text"
  }


def hparams(folder: pathlib.Path) -> tuple[dict[str, Any], set[str]]:
  """Reads the hyperparameters of a run, and the tags of the table's metrics."""
  settings, metrics = {}, set()
  for event in events(folder):
    for value in event.summary.value:
      plugin = value.metadata.plugin_data
      if plugin.plugin_name == "hparams":
        data = HParamsPluginData.FromString(plugin.content)
        for name, value in data.session_start_info.hparams.items():
          settings[name] = getattr(value, value.WhichOneof("kind"))
        metrics |= {m.name.tag for m in data.experiment.metric_infos}
  return settings, metrics
