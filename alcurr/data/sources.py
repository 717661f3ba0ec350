"""From the data part of a config to datasets, and to batches of images."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from absl import logging

from alcurr import specs
from alcurr.data import arrays, quickdraw, synthetic
from alcurr.data.noise import plant_wrong_labels
from alcurr.data.pool import Dataset, make_gather, split, take
from alcurr.data.render import make_render, render_all
from alcurr.errors import UserError
from alcurr.types import Array, Batch, Images, Pool, Strokes


def _synthetic(config: Mapping[str, Any], cache_dir: pathlib.Path) -> Dataset:
  if not config["classes"].isdigit():
    raise UserError(
      f"data.classes={config['classes']!r}: synthetic classes are chosen by "
      "their number, at most 30."
    )
  return synthetic.make_synthetic(
    config["num_examples"],
    seed=config["seed"],
    num_classes=int(config["classes"]),
    scribble_fraction=config["scribble_fraction"],
    unfinished_fraction=config["unfinished_fraction"],
    wrong_label_fraction=config["wrong_label_fraction"],
  )


def _files(config: Mapping[str, Any], cache_dir: pathlib.Path) -> Dataset:
  dataset, report = quickdraw.load(
    config["dir"],
    classes=config["classes"],
    max_per_class=config["max_per_class"],
    recognized_only=config["recognized_only"],
    on_error=config["on_error"],
    cache_dir=cache_dir,
  )
  if report["skipped"]:
    reasons = ", ".join(f"{n} {r}" for r, n in report["skipped"].items())
    logging.warning("Skipped drawings: %s.", reasons)
  return dataset


def _npz(config: Mapping[str, Any], cache_dir: pathlib.Path) -> Dataset:
  return arrays.load_npz(config["dir"])


SOURCES = {"synthetic": _synthetic, "files": _files, "npz": _npz}


def check(config: Mapping[str, Any]) -> None:
  """Refuses impossible settings before anything is read."""
  if config["source"] not in SOURCES:
    raise UserError(
      f"data.source: no {config['source']!r}. "
      f"{specs.nearest(config['source'], SOURCES)}"
    )
  if config["source"] != "synthetic" and not config["dir"]:
    raise UserError(
      "data.dir is empty: say where the data is, --config.data.dir=PATH."
    )
  if config["render"] not in ("in_step", "ahead"):
    raise UserError(
      f"data.render must be in_step or ahead, got {config['render']!r}."
    )
  planted_in = config["planted_in"].split(",")
  for name in planted_in:
    if name not in ("train", "probe", "valid"):
      raise UserError(
        f"data.planted_in: no {name!r} to plant mistakes in; name train, "
        "probe or valid, with commas."
      )
    if name == "probe" and not config["probe_fraction"]:
      raise UserError(
        "data.planted_in: there is no probe split; give it a share, "
        "data.probe_fraction."
      )
  if not 0 <= config["planted_noise"] < 1:
    raise UserError(
      f"data.planted_noise must be in [0, 1), got {config['planted_noise']}."
    )
  if config["train_examples"] < 0:
    raise UserError(
      "data.train_examples must not be negative, got "
      f"{config['train_examples']}."
    )
  with specs.mistakes_in("data"):
    _make_render(config)


def _make_render(
  config: Mapping[str, Any],
) -> Callable[[Strokes, Array], Array]:
  return make_render(
    size=config["image_size"],
    stroke_width=config["stroke_width"] or None,
    stroke_decay=config["stroke_decay"],
  )


def first_by_key(part: Dataset, count: int) -> Dataset:
  """So many examples of a part: more are the same ones and others."""
  return take(part, np.sort(np.argsort(part.key)[:count]))


def load(
  config: Mapping[str, Any], cache_dir: pathlib.Path
) -> tuple[dict[str, Dataset], Callable[[Pool, Array], Batch]]:
  """The datasets by the name of their split, and the gather for their pools."""
  render = _make_render(config)
  with specs.mistakes_in("data"):
    dataset = SOURCES[config["source"]](config, cache_dir)
    fractions = ("valid_fraction", "test_fraction", "probe_fraction")
    parts = split(dataset, *(config[name] for name in fractions))
    for name in config["planted_in"].split(","):
      parts[name] = plant_wrong_labels(
        parts[name], config["planted_noise"], config["seed"]
      )
  if config["train_examples"]:
    parts["train"] = first_by_key(parts["train"], config["train_examples"])
  if config["render"] == "ahead" and isinstance(dataset.source, Strokes):
    parts = {
      name: part._replace(source=Images(render_all(part.source, render)))
      for name, part in parts.items()
    }
  return parts, make_gather(render)
