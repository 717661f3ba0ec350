"""Loads the data that a config describes, and makes batches of images of it."""

import inspect
import pathlib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from alcurr.core import paths, specs
from alcurr.core.errors import UserError
from alcurr.core.extras import import_extra
from alcurr.data import (
  array_files,
  channels,
  given_splits,
  groups,
  image_folder,
  joined,
  planted,
  score_files,
  targets,
)
from alcurr.data.folds import mix_keys
from alcurr.data.host_store import (
  Lookup,
  make_fetch,
  make_lookup,
)
from alcurr.data.image_values import parse_range
from alcurr.data.pool import Dataset, content_hash, make_gather, take
from alcurr.data.quickdraw import packed, reader, stroke_forms, synthetic
from alcurr.data.render import Render, render_all
from alcurr.data.splitting import check_fractions, first_to_train_on, split
from alcurr.types import Array, Batch, Images, Pool, Split, Strokes

# (config.data with cache_dir) -> Dataset
Source = Callable[[Mapping[str, Any]], Dataset]


def _call(call: Callable, config: Mapping[str, Any], *args: Any) -> Any:
  """Calls a function with the fields of `config` that its signature names."""
  names = inspect.signature(call).parameters.keys() & {*config}
  return call(*args, **{name: config[name] for name in names})


def _synthetic(config: Mapping[str, Any]) -> Dataset:
  classes = config["classes"]
  if not classes.isdecimal():
    text = f"expected a number of synthetic classes, got {classes!r}"
    raise UserError("type", "classes", text)
  fields = {**config, "num_classes": int(classes)}
  return _call(synthetic.make_synthetic, fields)


def _files(config: Mapping[str, Any]) -> Dataset:
  dataset, report = _call(reader.load, config, config["dir"])
  if report["skipped"]:
    reasons = ", ".join(f"{n} {r}" for r, n in report["skipped"].items())
    logging.warning("Skipped drawings: %s.", reasons)
  return dataset


def _tfds(config: Mapping[str, Any]) -> Dataset:
  tfds = import_extra("alcurr.data.tfds", "tfds", "source")
  return _call(tfds.load, config, config["dir"])


SOURCES: Mapping[str, Source] = {
  "synthetic": _synthetic,
  "files": _files,
  "prepared": lambda config: _call(packed.load, config, config["dir"]),
  "npz": lambda config: _call(array_files.load_npz, config, config["dir"]),
  "folder": lambda config: _call(image_folder.load, config, config["dir"]),
  "tfds": _tfds,
}
_KNOWN = {
  "source": SOURCES,
  "on_error": ("raise", "skip"),
  "pool": ("device", "split", "host"),
  "render": ("in_step", "precompute"),
  "label_noise_kind": planted.NOISE,
}


# The fields of `config.data` that each of several sources may have of its own.
OF_A_SOURCE = (
  *("source", "dir", "classes", "max_per_class", "share", "label_noise"),
  *("recognized_only", "on_error", "seed", "num_examples", "scribble_fraction"),
  *("unfinished_fraction", "wrong_label_fraction", "channels_first"),
  *("value_range", "max_bytes", "background", "max_pixels", "stroke_form"),
)


def of_each(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
  """Returns the config of each of `data.sources`; of the one source, by ""."""
  whole = {**config, "sources": {}}
  several = config["sources"].items()
  return {name: {**whole, **fields} for name, fields in several} or {"": whole}


def _place(name: str) -> str:
  return f"data.sources.{name}" if name else "data"


def check(config: Mapping[str, Any]) -> None:
  """Checks `config.data` before anything is read.

  Raises:
    UserError: a value out of range, or settings that do not fit each other.
  """
  for name in ("pool", "render", "label_noise_kind"):
    specs.check_choice(f"data.{name}", config[name], _KNOWN[name])
  specs.check_range("data.imbalance", config["imbalance"], 1)
  specs.check_range("data.copies", config["copies"], 1)
  specs.check_range("data.train_examples", config["train_examples"], 0)
  if len(config["sources"]) == 1:
    text = "expected several; of one, set the fields of data"
    raise UserError("range", "data.sources", text)
  if config["sources"] and config["groups"]:
    text = "the sources are the groups; expected no table"
    raise UserError("conflict", "data.groups", text)
  for name, fields in config["sources"].items():
    if not re.fullmatch(r"\w[\w-]*", name):
      text = f"expected names of letters, digits, _ and -, got {name!r}"
      raise UserError("syntax", "data.sources", text)
    for field in fields:
      specs.check_choice(_place(name), field, OF_A_SOURCE)
  for name, of_one in of_each(config).items():
    _check_one(of_one, _place(name))
  noisy = config["label_noise_in"].split(",")
  for name in noisy:
    specs.check_choice("data.label_noise_in", name, ("train", "probe", "valid"))
  if "probe" in noisy and not given_splits.has_probe(config):
    text = "expected data.probe_fraction > 0 or data.probe_dir for probe"
    raise UserError("conflict", "data.label_noise_in", text)
  if config["regression"]:
    _check_regression(config)
  given_splits.check(config)
  given = given_splits.names(config)
  if given and config["sources"]:  # each of which may have another kind
    specs.check_choice("data.source", config["source"], SOURCES)
  with specs.errors_in("data"):
    channels.get_render(config)
    _call(check_fractions, {**config, "given": given})


def _check_regression(config: Mapping[str, Any]) -> None:
  """Refuses settings that are of classes."""
  for name, of_one in of_each(config).items():
    if of_one["source"] != "npz":
      text = f"expected arrays (npz), got {of_one['source']!r}"
      raise UserError("conflict", f"{_place(name)}.source", text)
    if of_one["label_noise"]:
      text = "expected classes; targets cannot be made wrong"
      raise UserError("conflict", f"{_place(name)}.label_noise", text)
  if config["imbalance"] != 1:
    raise UserError("conflict", "data.imbalance", "expected classes")


def _check_one(config: Mapping[str, Any], place: str) -> None:
  """Checks the fields of one source."""
  for name in ("source", "on_error"):
    specs.check_choice(f"{place}.{name}", config[name], _KNOWN[name])
  if config["source"] == "synthetic" and config["dir"]:
    text = f"{place}.source=synthetic reads no path; expected another source"
    raise UserError("conflict", f"{place}.dir", text)
  if config["source"] != "synthetic" and not config["dir"]:
    text = f"expected a path, or {place}.source=synthetic"
    raise UserError("conflict", f"{place}.dir", text)
  specs.check_range(f"{place}.max_per_class", config["max_per_class"], 0)
  for name in ("max_bytes", "max_pixels"):
    specs.check_range(f"{place}.{name}", config[name], 1)
  parse_range(config["value_range"], f"{place}.value_range")
  stroke_forms.check(config["stroke_form"], f"{place}.stroke_form")
  image_folder.check_background(config["background"], f"{place}.background")
  if not 0 <= (noise := config["label_noise"]) < 1:
    text = f"expected a share in [0, 1), got {noise}"
    raise UserError("range", f"{place}.label_noise", text)
  if not 0 < (share := config["share"]) <= 1:
    text = f"expected a share in (0, 1], got {share}"
    raise UserError("range", f"{place}.share", text)


class LoadedData(NamedTuple):
  """The splits of a dataset, and the functions that read its examples."""

  parts: dict[str, Dataset]  # by the name of the split
  gather: Callable[[Pool, Array], Batch]  # for pools of the parts
  lookup: Lookup | None  # of the store on the host, if data.pool is host
  content: str  # a hash of all that was read
  target_scale: targets.TargetScale | None  # of regression


def load(
  config: Mapping[str, Any],
  cache_dir: pathlib.Path,
  scores: Mapping[str, str] | None = None,
) -> LoadedData:
  """Loads the data that `config.data` describes, with scores from files.

  Raises:
    UserError: data that is missing, damaged, or more than memory holds.
  """
  render = channels.get_render(config)
  precompute = config["render"] == "precompute"
  with specs.errors_in("data"):

    def read(of_one: Mapping[str, Any], place: str) -> Dataset:
      part = _read(of_one, cache_dir, place)
      content = content_hash(part)
      names = channels.get_channels(config)
      source = channels.with_channels(part.source, names)
      return part._replace(source=source, content=content)

    each = of_each(config).items()
    datasets = {name: read(of_one, _place(name)) for name, of_one in each}
    dataset = datasets.get("") or joined.join(datasets, render)
    given = given_splits.read(config, dataset, read)
    content = given_splits.hash_all(dataset, given)
    dataset, given = given_splits.of_one_kind(dataset, given, render)
    dataset = score_files.with_scores(dataset, scores or {})
    lookup = fetch = None
    if config["pool"] == "host":
      dataset = _rendered(dataset, render, precompute)
      given = {n: _rendered(p, render, precompute) for n, p in given.items()}
      source, dataset, given = given_splits.store(dataset, given)
      lookup = make_lookup(source)
      fetch = make_fetch(lookup)
    parts = _call(split, {**config, "given": [*given]}, dataset) | given
    given_splits.check_copies(parts, given)
    if not config["hold_out"]:
      parts["train"] = dataset
    noise = [of_one["label_noise"] for of_one in of_each(config).values()]
    for name in config["label_noise_in"].split(","):
      part, share = parts[name], config["label_noise"]
      if config["sources"] and part.groups is not None:
        share = np.array(noise)[part.groups]
      parts[name] = planted.add_label_noise(
        part, share, config["seed"], config["label_noise_kind"]
      )
    parts["train"] = planted.imbalance(parts["train"], config["imbalance"])
  if count := config["train_examples"]:
    parts["train"] = first_to_train_on(parts["train"], count)
  parts["train"] = planted.copies(parts["train"], config["copies"])
  parts = {n: _rendered(part, render, precompute) for n, part in parts.items()}
  if config["pool"] == "split":
    parts = {name: _split(part) for name, part in parts.items()}
  scale = None
  if config["regression"]:
    parts, scale = targets.standardize(parts)
  return LoadedData(parts, make_gather(render, fetch), lookup, content, scale)


def _read(
  config: Mapping[str, Any], cache_dir: pathlib.Path, place: str
) -> Dataset:
  """Reads one source, whose fields are at `place`."""
  config = {"split": "train", **config, "cache_dir": cache_dir}
  # A name of TensorFlow Datasets is no path.
  if config["source"] != "tfds" or config["dir"].startswith("~"):
    config["dir"] = config["dir"] and str(paths.absolute(config["dir"], "dir"))
  if config["groups"]:
    config["groups"] = str(paths.absolute(config["groups"], "groups"))
  try:
    dataset = groups.add(SOURCES[config["source"]](config), config)
  except MemoryError as error:
    text = f"more than memory holds ({error}); choose less of it"
    raise UserError("memory", place, text) from error
  except UserError as error:
    if error.place not in config:
      raise
    # A loader's arguments have the names of the config's fields. A given split
    # has a place of its own, and shares the other fields.
    field = f"{place}.{error.place}"
    if config["split"] != "train":
      own = error.place in ("dir", "classes")
      field = place if own else f"data.{error.place}"
    raise UserError(error.code, field, error.text) from error
  if config["share"] == 1:
    return dataset
  count = round(config["share"] * len(dataset.label))
  specs.check_range(f"{place}.share", count / len(dataset.label), 1e-9)
  return take(dataset, np.sort(np.argsort(mix_keys(dataset.key))[:count]))


def _split(part: Dataset) -> Dataset:
  """Returns a dataset whose examples are split over devices."""
  if isinstance(part.source, Strokes):
    text = "expected data.render=precompute, since strokes are not split"
    raise UserError("conflict", "data.pool", text)
  return part._replace(source=Split(part.source))


def _rendered(part: Dataset, render: Render, precompute: bool) -> Dataset:
  if precompute and isinstance(part.source, Strokes):
    return part._replace(source=Images(render_all(part.source, render)))
  return part
