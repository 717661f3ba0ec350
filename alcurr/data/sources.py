"""From the config's `data` to datasets, and to batches of images."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.core.extras import import_extra
from alcurr.data import arrays, image_folder
from alcurr.data.host_store import Lookup, make_fetch, make_lookup
from alcurr.data.label_noise import add_label_noise
from alcurr.data.pool import Dataset, check_fractions, make_gather, split, take
from alcurr.data.quickdraw import packed, reader, synthetic
from alcurr.data.render import Render, make_render, render_all
from alcurr.types import Array, Batch, Images, Pool, Stored, Strokes

_FRACTIONS = ("valid_fraction", "test_fraction", "probe_fraction")
_CHOICE = ("classes", "max_per_class")
_NOISY = ("train", "probe", "valid")


def _take(config: Mapping[str, Any], *names: str) -> dict[str, Any]:
  return {name: config[name] for name in names}


def _synthetic(config: Mapping[str, Any], cache_dir: pathlib.Path) -> Dataset:
  if not config["classes"].isdigit():
    raise UserError(
      "type",
      "data.classes",
      "expected the number of synthetic classes, at most 30, got "
      f"{config['classes']!r}",
    )
  return synthetic.make_synthetic(
    config["num_examples"],
    num_classes=int(config["classes"]),
    **_take(config, "seed", "scribble_fraction", "unfinished_fraction"),
    **_take(config, "wrong_label_fraction"),
  )


def _files(config: Mapping[str, Any], cache_dir: pathlib.Path) -> Dataset:
  choice = _take(config, *_CHOICE, "recognized_only", "on_error")
  dataset, report = reader.load(config["dir"], **choice, cache_dir=cache_dir)
  if report["skipped"]:
    reasons = ", ".join(f"{n} {r}" for r, n in report["skipped"].items())
    logging.warning("Skipped drawings: %s.", reasons)
  return dataset


def _prepared(config: Mapping[str, Any], cache_dir: pathlib.Path) -> Dataset:
  choice = _take(config, *_CHOICE, "recognized_only")
  return packed.load(config["dir"], **choice)


def _npz(config: Mapping[str, Any], cache_dir: pathlib.Path) -> Dataset:
  return arrays.load_npz(config["dir"])


def _folder(config: Mapping[str, Any], cache_dir: pathlib.Path) -> Dataset:
  choice = _take(config, *_CHOICE, "image_size", "on_error")
  return image_folder.load(config["dir"], **choice)


def _tfds(config: Mapping[str, Any], cache_dir: pathlib.Path) -> Dataset:
  tfds = import_extra("alcurr.data.tfds", "tfds", "data.source")
  choice = _take(config, *_CHOICE, "recognized_only", "image_size")
  return tfds.load(config["dir"], **choice)


SOURCES = {
  "synthetic": _synthetic,
  "files": _files,
  "prepared": _prepared,
  "npz": _npz,
  "folder": _folder,
  "tfds": _tfds,
}
_KNOWN = {
  "source": tuple(SOURCES),
  "on_error": ("raise", "skip"),
  "pool": ("device", "host"),
  "render": ("in_step", "precompute"),
}


def check(config: Mapping[str, Any]) -> None:
  """Checks `config.data` before anything is read.

  Raises:
    UserError: an impossible setting.
  """
  noisy = config["label_noise_in"].split(",")
  dir_fits = (config["source"] == "synthetic") != bool(config["dir"])
  for code, name, good, expected in (
    *(
      ("unknown", n, config[n] in k, " or ".join(k)) for n, k in _KNOWN.items()
    ),
    ("conflict", "dir", dir_fits, "a path, or data.source=synthetic"),
    ("range", "max_per_class", config["max_per_class"] >= 0, ">= 0"),
    ("range", "train_examples", config["train_examples"] >= 0, ">= 0"),
    ("range", "label_noise", 0 <= config["label_noise"] < 1, "[0, 1)"),
    ("unknown", "label_noise_in", {*noisy} <= {*_NOISY}, ", ".join(_NOISY)),
    (
      "conflict",
      "label_noise_in",
      "probe" not in noisy or config["probe_fraction"],
      "data.probe_fraction > 0 for probe",
    ),
  ):
    if not good:
      text = f"expected {expected}, got {config[name]!r}"
      raise UserError(code, f"data.{name}", text)
  with specs.errors_in("data"):
    get_render(config)
    check_fractions(*(config[name] for name in _FRACTIONS))


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
  """Drops what is not needed to render the channels.

  Raises:
    UserError: the source cannot give them.
  """
  if isinstance(source, Images):
    if channels != ("ink",):
      raise UserError(
        "conflict",
        "data.channels",
        f"{','.join(channels)!r} needs drawings, but this data is images",
      )
    return source
  if "speed" not in channels:
    return source._replace(points=source.points[:, :2])
  if source.points.shape[1] < 3:
    raise UserError(
      "conflict",
      "data.channels",
      "speed needs raw drawings; these have no times",
    )
  return source


def first_by_key(part: Dataset, count: int) -> Dataset:
  """Returns `count` examples; a larger count adds to the same ones."""
  return take(part, np.sort(np.argsort(part.key)[:count]))


def _first_to_train_on(part: Dataset, count: int) -> Dataset:
  if count > len(part.label):
    raise UserError(
      "range",
      "data.train_examples",
      f"expected at most the {len(part.label)} of the training split, got "
      f"{count}",
    )
  first = first_by_key(part, count)
  size = np.bincount(first.label, minlength=len(part.class_names))
  if size.min() == 0:
    name = part.class_names[size.argmin()]
    text = f"class {name!r} has none of the first {count}"
    raise UserError("range", "data.train_examples", text)
  return first


class LoadedData(NamedTuple):
  """What `load` returns."""

  parts: dict[str, Dataset]  # by the name of their split
  gather: Callable[[Pool, Array], Batch]  # for pools of the parts
  lookup: Lookup | None  # of the host's store, if data.pool is host


def load(config: Mapping[str, Any], cache_dir: pathlib.Path) -> LoadedData:
  """Loads the data that `config.data` describes.

  Raises:
    UserError: data that is missing, damaged, or more than memory holds.
  """
  render = get_render(config)
  precompute = config["render"] == "precompute"
  with specs.errors_in("data"):
    dataset = _read(config, cache_dir)
    dataset = dataset._replace(
      source=with_channels(dataset.source, get_channels(config))
    )
    lookup = fetch = None
    if config["pool"] == "host":
      lookup = make_lookup(_rendered(dataset, render, precompute).source)
      fetch = make_fetch(lookup)
      row = np.arange(len(dataset.label), dtype=np.int32)
      dataset = dataset._replace(source=Stored(row))
    parts = split(dataset, *(config[name] for name in _FRACTIONS))
    for name in config["label_noise_in"].split(","):
      parts[name] = add_label_noise(
        parts[name], config["label_noise"], config["seed"]
      )
  if config["train_examples"]:
    parts["train"] = _first_to_train_on(
      parts["train"], config["train_examples"]
    )
  parts = {n: _rendered(part, render, precompute) for n, part in parts.items()}
  return LoadedData(parts, make_gather(render, fetch), lookup)


def _read(config: Mapping[str, Any], cache_dir: pathlib.Path) -> Dataset:
  try:
    return SOURCES[config["source"]](config, cache_dir)
  except MemoryError as error:
    raise UserError(
      "memory", "data", f"more than memory holds ({error}); choose less of it"
    ) from error
  except UserError as error:
    if error.place not in config:
      raise
    # A loader's argument is the config's field of that name.
    raise UserError(error.code, f"data.{error.place}", error.text) from error


def _rendered(part: Dataset, render: Render, precompute: bool) -> Dataset:
  if precompute and isinstance(part.source, Strokes):
    return part._replace(source=Images(render_all(part.source, render)))
  return part
