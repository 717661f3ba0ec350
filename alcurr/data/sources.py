"""From the data part of a config to datasets, and to batches of images."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.data import arrays, image_folder
from alcurr.data.host_store import Lookup, make_fetch, make_lookup
from alcurr.data.label_noise import plant_wrong_labels
from alcurr.data.pool import Dataset, check_fractions, make_gather, split, take
from alcurr.data.quickdraw import packed, reader, synthetic
from alcurr.data.render import Render, make_render, render_all
from alcurr.types import Array, Batch, Images, Pool, Stored, Strokes


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
  dataset, report = reader.load(
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


def _prepared(config: Mapping[str, Any], cache_dir: pathlib.Path) -> Dataset:
  return packed.load(
    config["dir"],
    classes=config["classes"],
    max_per_class=config["max_per_class"],
    recognized_only=config["recognized_only"],
  )


def _folder(config: Mapping[str, Any], cache_dir: pathlib.Path) -> Dataset:
  return image_folder.load(
    config["dir"],
    image_size=config["image_size"],
    classes=config["classes"],
    max_per_class=config["max_per_class"],
    on_error=config["on_error"],
  )


def _tfds(config: Mapping[str, Any], cache_dir: pathlib.Path) -> Dataset:
  # A second to import, which the other sources do not wait for.
  from alcurr.data import tfds

  return tfds.load(
    config["dir"],
    classes=config["classes"],
    max_per_class=config["max_per_class"],
    recognized_only=config["recognized_only"],
    image_size=config["image_size"],
  )


_FRACTIONS = ("valid_fraction", "test_fraction", "probe_fraction")

SOURCES = {
  "synthetic": _synthetic,
  "files": _files,
  "prepared": _prepared,
  "npz": _npz,
  "folder": _folder,
  "tfds": _tfds,
}


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
  if config["source"] == "synthetic" and config["dir"]:
    raise UserError(
      f"data.dir={config['dir']!r} is not read by data.source=synthetic; add "
      "--config.data.source=files, prepared, npz, folder or tfds, or leave it "
      "out."
    )
  if config["on_error"] not in ("raise", "skip"):
    raise UserError(
      f"data.on_error must be raise or skip, got {config['on_error']!r}."
    )
  if config["max_per_class"] < 0:
    raise UserError(
      f"data.max_per_class must not be negative, got {config['max_per_class']}."
    )
  if config["pool"] not in ("device", "host"):
    raise UserError(
      f"data.pool must be device or host, got {config['pool']!r}."
    )
  if config["render"] not in ("in_step", "precompute"):
    raise UserError(
      f"data.render must be in_step or ahead, got {config['render']!r}."
    )
  label_noise_in = config["label_noise_in"].split(",")
  for name in label_noise_in:
    if name not in ("train", "probe", "valid"):
      raise UserError(
        f"data.label_noise_in: no {name!r} to plant mistakes in; name train, "
        "probe or valid, with commas."
      )
    if name == "probe" and not config["probe_fraction"]:
      raise UserError(
        "data.label_noise_in: there is no probe split; give it a share, "
        "data.probe_fraction."
      )
  if not 0 <= config["label_noise"] < 1:
    raise UserError(
      f"data.label_noise must be in [0, 1), got {config['label_noise']}."
    )
  if config["train_examples"] < 0:
    raise UserError(
      "data.train_examples must not be negative, got "
      f"{config['train_examples']}."
    )
  with specs.errors_in("data"):
    get_render(config)
    check_fractions(*(config[name] for name in _FRACTIONS))


def get_render(config: Mapping[str, Any]) -> Render:
  """What makes images of drawings; the arguments are `config.data`."""
  return make_render(
    size=config["image_size"],
    stroke_width=config["stroke_width"] or None,
    stroke_decay=config["stroke_decay"],
    channels=get_channels(config),
  )


def get_channels(config: Mapping[str, Any]) -> tuple[str, ...]:
  """Of the images of drawings; the arguments are `config.data`."""
  return tuple(name.strip() for name in config["channels"].split(","))


def with_channels(
  source: Images | Strokes, channels: Sequence[str]
) -> Images | Strokes:
  """What these channels of images need of a source, and no more.

  Raises:
    UserError: it does not have it.
  """
  if isinstance(source, Images):
    if channels != ("ink",):
      raise UserError(
        f"data.channels={','.join(channels)!r} is of drawings, and this data "
        "is images; leave it out."
      )
    return source
  if "speed" not in channels:
    return source._replace(points=source.points[:, :2])
  if source.points.shape[1] < 3:
    raise UserError(
      "data.channels: drawings without times have no speed, and only raw ones "
      "have times; take those, or leave speed out."
    )
  return source


def first_by_key(part: Dataset, count: int) -> Dataset:
  """So many examples of a part: more are the same ones and others."""
  return take(part, np.sort(np.argsort(part.key)[:count]))


def _first_to_train_on(part: Dataset, count: int) -> Dataset:
  """So many of the training split, with examples of each class."""
  if count > len(part.label):
    raise UserError(
      f"data.train_examples={count} is more than the {len(part.label)} of the "
      "training split; take fewer, or more data."
    )
  first = first_by_key(part, count)
  here = np.bincount(first.label, minlength=len(part.class_names))
  if here.min() == 0:
    raise UserError(
      f"data.train_examples={count} leaves class "
      f"{part.class_names[here.argmin()]!r} no example; take more."
    )
  return first


class LoadedData(NamedTuple):
  parts: dict[str, Dataset]  # by the name of their split
  gather: Callable[[Pool, Array], Batch]  # for their pools
  lookup: Lookup | None  # of their examples, if pools are on the host


def load(config: Mapping[str, Any], cache_dir: pathlib.Path) -> LoadedData:
  """The data of a config.

  Raises:
    UserError: data that is missing, broken, or more than memory holds.
  """
  render = get_render(config)
  with specs.errors_in("data"):
    try:
      dataset = SOURCES[config["source"]](config, cache_dir)
    except MemoryError as error:
      raise UserError(
        f"data: there is not the memory for it ({error}); take less of it."
      ) from error
    dataset = dataset._replace(
      source=with_channels(dataset.source, get_channels(config))
    )
    ahead = config["render"] == "precompute"
    lookup = fetch = None
    if config["pool"] == "host":
      lookup = make_lookup(_rendered(dataset, render, ahead).source)
      fetch = make_fetch(lookup)
      row = np.arange(len(dataset.label), dtype=np.int32)
      dataset = dataset._replace(source=Stored(row))
    parts = split(dataset, *(config[name] for name in _FRACTIONS))
    for name in config["label_noise_in"].split(","):
      parts[name] = plant_wrong_labels(
        parts[name], config["label_noise"], config["seed"]
      )
  if config["train_examples"]:
    parts["train"] = _first_to_train_on(
      parts["train"], config["train_examples"]
    )
  parts = {name: _rendered(part, render, ahead) for name, part in parts.items()}
  return LoadedData(parts, make_gather(render, fetch), lookup)


def _rendered(part: Dataset, render: Render, ahead: bool) -> Dataset:
  """A part with its drawings as images, if they are to be made ahead."""
  if ahead and isinstance(part.source, Strokes):
    return part._replace(source=Images(render_all(part.source, render)))
  return part
