"""Loads the data that a config describes, and makes batches of images of it."""

import inspect
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from alcurr.core import paths, specs
from alcurr.core.errors import UserError
from alcurr.core.extras import import_extra
from alcurr.data import arrays, image_folder
from alcurr.data.host_store import Lookup, make_fetch, make_lookup
from alcurr.data.image_values import parse_range
from alcurr.data.label_noise import add_label_noise
from alcurr.data.pool import (
  Dataset,
  check_fractions,
  content_hash,
  make_gather,
  split,
  take,
)
from alcurr.data.quickdraw import packed, reader, stroke_forms, synthetic
from alcurr.data.render import Render, make_render, render_all
from alcurr.types import Array, Batch, Images, Pool, Stored, Strokes

# (config.data with cache_dir) -> Dataset
Source = Callable[[Mapping[str, Any]], Dataset]


def _call(call: Callable, config: Mapping[str, Any], *args: Any) -> Any:
  """Calls a function with the fields of `config` that its signature names."""
  names = inspect.signature(call).parameters.keys() & {*config}
  return call(*args, **{name: config[name] for name in names})


def _synthetic(config: Mapping[str, Any]) -> Dataset:
  classes = config["classes"]
  if not classes.isdigit():
    text = f"expected a number of synthetic classes, got {classes!r}"
    raise UserError("type", "data.classes", text)
  fields = {**config, "num_classes": int(classes)}
  return _call(synthetic.make_synthetic, fields)


def _files(config: Mapping[str, Any]) -> Dataset:
  dataset, report = _call(reader.load, config, config["dir"])
  if report["skipped"]:
    reasons = ", ".join(f"{n} {r}" for r, n in report["skipped"].items())
    logging.warning("Skipped drawings: %s.", reasons)
  return dataset


def _tfds(config: Mapping[str, Any]) -> Dataset:
  tfds = import_extra("alcurr.data.tfds", "tfds", "data.source")
  return _call(tfds.load, config, config["dir"])


SOURCES: Mapping[str, Source] = {
  "synthetic": _synthetic,
  "files": _files,
  "prepared": lambda config: _call(packed.load, config, config["dir"]),
  "npz": lambda config: _call(arrays.load_npz, config, config["dir"]),
  "folder": lambda config: _call(image_folder.load, config, config["dir"]),
  "tfds": _tfds,
}
_KNOWN = {
  "source": SOURCES,
  "on_error": ("raise", "skip"),
  "pool": ("device", "host"),
  "render": ("in_step", "precompute"),
}


def check(config: Mapping[str, Any]) -> None:
  """Checks `config.data` before anything is read.

  Raises:
    UserError: a value out of range, or settings that do not fit each other.
  """
  for name, known in _KNOWN.items():
    specs.check_choice(f"data.{name}", config[name], known)
  if (config["source"] == "synthetic") == bool(config["dir"]):
    text = f"expected a path, or data.source=synthetic, got {config['dir']!r}"
    raise UserError("conflict", "data.dir", text)
  for name in ("max_per_class", "train_examples"):
    specs.check_range(f"data.{name}", config[name], 0)
  for name in ("max_bytes", "max_pixels"):
    specs.check_range(f"data.{name}", config[name], 1)
  parse_range(config["value_range"], "data.value_range")
  stroke_forms.check(config["stroke_form"], "data.stroke_form")
  image_folder.check_background(config["background"], "data.background")
  noisy = config["label_noise_in"].split(",")
  for name in noisy:
    specs.check_choice("data.label_noise_in", name, ("train", "probe", "valid"))
  if "probe" in noisy and not config["probe_fraction"]:
    text = "expected data.probe_fraction > 0 for probe"
    raise UserError("conflict", "data.label_noise_in", text)
  if not 0 <= (noise := config["label_noise"]) < 1:
    text = f"expected a share in [0, 1), got {noise}"
    raise UserError("range", "data.label_noise", text)
  with specs.errors_in("data"):
    get_render(config)
    _call(check_fractions, config)


def get_render(config: Mapping[str, Any]) -> Render:
  """Returns the renderer of drawings that `config.data` describes."""
  return make_render(
    size=config["image_size"],
    stroke_width=config["stroke_width"] or None,
    stroke_decay=config["stroke_decay"],
    channels=get_channels(config),
  )


def get_channels(config: Mapping[str, Any]) -> tuple[str, ...]:
  """Returns the channels of rendered drawings that `config.data` names."""
  return tuple(name.strip() for name in config["channels"].split(","))


def with_channels(
  source: Images | Strokes, channels: Sequence[str]
) -> Images | Strokes:
  """Drops the speeds of drawings unless the channels need them.

  Raises:
    UserError: the source lacks a channel.
  """
  if isinstance(source, Images):
    if channels != ("ink",):
      text = f"{','.join(channels)!r} needs drawings, got images"
      raise UserError("conflict", "data.channels", text)
    return source
  if "speed" not in channels:
    return source._replace(points=source.points[:, :2])
  if source.points.shape[1] < 3:
    text = "speed needs raw drawings; these have no times"
    raise UserError("conflict", "data.channels", text)
  return source


def first_by_key(part: Dataset, count: int) -> Dataset:
  """Returns the `count` examples of the smallest keys, in their order."""
  return take(part, np.sort(np.argsort(part.key)[:count]))


def _first_to_train_on(part: Dataset, count: int) -> Dataset:
  order = np.argsort(part.key)
  # One of each class, then those of the smallest keys.
  _, first = np.unique(part.label[order], return_index=True)
  specs.check_range("data.train_examples", count, len(first), len(part.label))
  order = np.concatenate([order[first], np.delete(order, first)])
  return take(part, np.sort(order[:count]))


class LoadedData(NamedTuple):
  """The splits of a dataset, and the functions that read its examples."""

  parts: dict[str, Dataset]  # by the name of the split
  gather: Callable[[Pool, Array], Batch]  # for pools of the parts
  lookup: Lookup | None  # of the store on the host, if data.pool is host
  content: str  # a hash of all that was read


def load(config: Mapping[str, Any], cache_dir: pathlib.Path) -> LoadedData:
  """Loads the data that `config.data` describes.

  Raises:
    UserError: data that is missing, damaged, or more than memory holds.
  """
  render = get_render(config)
  precompute = config["render"] == "precompute"
  with specs.errors_in("data"):
    dataset = _read(config, cache_dir)
    content = content_hash(dataset)
    source = with_channels(dataset.source, get_channels(config))
    dataset = dataset._replace(source=source)
    lookup = fetch = None
    if config["pool"] == "host":
      lookup = make_lookup(_rendered(dataset, render, precompute).source)
      fetch = make_fetch(lookup)
      row = np.arange(len(dataset.label), dtype=np.int32)
      dataset = dataset._replace(source=Stored(row))
    parts = _call(split, config, dataset)
    noise = config["label_noise"]
    for name in config["label_noise_in"].split(","):
      parts[name] = add_label_noise(parts[name], noise, config["seed"])
  if count := config["train_examples"]:
    parts["train"] = _first_to_train_on(parts["train"], count)
  parts = {n: _rendered(part, render, precompute) for n, part in parts.items()}
  return LoadedData(parts, make_gather(render, fetch), lookup, content)


def _read(config: Mapping[str, Any], cache_dir: pathlib.Path) -> Dataset:
  config = {**config, "cache_dir": cache_dir}
  # A name of TensorFlow Datasets is no path.
  if config["source"] != "tfds" or config["dir"].startswith("~"):
    config["dir"] = config["dir"] and str(paths.absolute(config["dir"], "dir"))
  try:
    return SOURCES[config["source"]](config)
  except MemoryError as error:
    text = f"more than memory holds ({error}); choose less of it"
    raise UserError("memory", "data", text) from error
  except UserError as error:
    if error.place not in config:
      raise
    # A loader's arguments have the names of the config's fields.
    raise UserError(error.code, f"data.{error.place}", error.text) from error


def _rendered(part: Dataset, render: Render, precompute: bool) -> Dataset:
  if precompute and isinstance(part.source, Strokes):
    return part._replace(source=Images(render_all(part.source, render)))
  return part
