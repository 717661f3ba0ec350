"""Datasets of TensorFlow Datasets that were prepared on this disk.

A set has images with one label each, or drawings of the builder
`quickdraw_strokes`. It is read without TensorFlow, and so must be array_record
files. Nothing is downloaded.
"""

import contextlib
import pathlib
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf import json_format
from PIL import Image
from tensorflow_datasets.core import DatasetBuilder

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.data import arrays, cache, strokes
from alcurr.data.pool import Dataset, choose_classes
from alcurr.data.quickdraw import records, tfds_builder
from alcurr.data.quickdraw.by_class import choose

_FORMAT = "array_record"
_REMEDY = f"prepare it with tfds build --file_format={_FORMAT}"
# The first of these that a set has; a set may be of one split alone.
_SPLITS = {
  "train": ("train",),
  "valid": ("validation", "valid", "val", "train"),
  "test": ("test", "train"),
  "probe": ("probe", "train"),
}
_BLOCK = 1024  # examples
_ROW = "row of the split"  # a key of examples, besides those of features
# Names for tfds.builder, without those of hubs, which it would download.
_NAME = re.compile(r"(\w+)(/[\w.+-]+)?(:\d+\.\d+\.\d+)?")
# Features by which drawings are recognized; see `tfds_builder`.
_DRAWING_FEATURES = {"strokes", "recognized", "key_id", "index"}
Examples = Iterator[tuple[int, dict[str, Any]]]  # with their labels


def load(
  where: str,
  *,
  classes: str | int | Collection[str] = "all",
  max_per_class: int = 0,
  recognized_only: bool = False,
  image_size: int = 28,
  split: str = "train",
) -> Dataset:
  """Reads a split of a set.

  Memory: the result twice, and a thousand examples.

  Args:
    where: the folder of a set's version; or a name, such as mnist or
      emnist/letters:3.1.0, of a set in the folder of TensorFlow Datasets.
    classes: see `alcurr.data.pool.choose_classes`.
    max_per_class: the first examples of each class; 0 for all.
    recognized_only: omits drawings with `recognized: false`.
    image_size: pixels of a side, for sets that do not fix the size.
    split: "train", "valid", "test" or "probe". Of a set without such a split,
      the split `train` is read.

  Raises:
    UserError: a set that is missing, not prepared, damaged or of another
      kind, or an unknown or empty class.
  """
  builder, of_set = _open(where, split)
  content, label = _fields(where, builder)
  feature, known = (builder.info.features[n] for n in (content, label))
  names = choose_classes(sorted(known.names), classes)
  wanted = {known.names.index(name): i for i, name in enumerate(names)}
  examples = _examples(where, builder, of_set, label, wanted)
  if content == "strokes":
    drawings = _drawings(where, examples, names)
    return choose(drawings, where, names, max_per_class, recognized_only)
  if recognized_only:
    raise UserError("conflict", "recognized_only", "images have no such flag")
  if feature.np_dtype != np.uint8:
    text = f"expected uint8 images, got {feature.np_dtype}"
    raise UserError("unsupported", where, text)
  images, labels, rows, count = [], [], [], [0] * len(names)
  for label, example in examples:
    if not max_per_class or count[label] < max_per_class:
      count[label] += 1
      labels.append(label)
      rows.append(example[_ROW])
      image = example[content]
      open_size = None in feature.shape
      images.append(_resize(image, image_size) if open_size else image)
  is_whole = split == "train"  # other splits may lack a class
  if is_whole and not min(count):
    name = names[count.index(0)]
    raise UserError("data", where, f"class {name!r} has no image")
  dataset = arrays.from_arrays(
    np.stack(images),
    np.array(labels),
    names,
    value_range=(0, 255),
    every_class=is_whole,
  )
  rows = np.array(rows)
  return dataset._replace(locate=lambda row: {"index": rows[row]})


def _open(where: str, split: str) -> tuple[DatasetBuilder, str]:
  folder = pathlib.Path(where)
  if (folder / "dataset_info.json").is_file():
    with _reading(where):
      builder = tfds.builder_from_directory(folder)
  else:
    builder = _by_name(where)
  info = builder.info
  if _FORMAT not in {f.value for f in info.available_file_formats()}:
    text = f"expected {_FORMAT} files, got {info.file_format.value}; {_REMEDY}"
    raise UserError("unsupported", where, text)
  for name in _SPLITS[split]:
    if name in info.splits:
      return builder, name
  text = f"expected a split train, got {', '.join(info.splits)}"
  raise UserError("missing", where, text)


def _by_name(name: str) -> DatasetBuilder:
  try:
    if not _NAME.fullmatch(name):
      raise tfds.core.DatasetNotFoundError
    builder = tfds.builder(name)
  except tfds.core.DatasetNotFoundError as error:
    known = tfds.list_builders(with_community_datasets=False)
    text = f"expected a set's folder, or a name such as mnist, got {name}"
    text += specs.did_you_mean(name, known)
    raise UserError("unknown", "dir", text) from error
  except (ValueError, AssertionError) as error:  # the config or the version
    reason = str(error).splitlines()[0].rstrip(".: ")
    raise UserError("unknown", "dir", f"{name}: {reason}") from error
  if not builder.is_prepared():
    command = f"tfds build {name} --file_format={_FORMAT}"
    if isinstance(builder, tfds_builder.QuickdrawStrokes):
      command = "python -m alcurr.data tfds"
    text = f"no {name} in {builder.data_dir}; run {command}, or give its folder"
    raise UserError("missing", "dir", text)
  return builder


@contextlib.contextmanager
def _reading(where: str) -> Iterator[None]:
  """Turns the errors of damaged files into a UserError."""
  try:
    yield
  except MemoryError:
    raise
  # A feature's class is imported by its name in the file.
  except (*cache.UNREADABLE, ImportError, json_format.ParseError) as error:
    text = f"cannot be read ({error}); prepare it again"
    raise UserError("damaged", where, text) from error


def _fields(where: str, builder: DatasetBuilder) -> tuple[str, str]:
  """Returns the names of the image or drawing feature, and of the label."""
  features = builder.info.features
  contents, labels = (
    [name for name, feature in features.items() if isinstance(feature, kind)]
    for kind in (tfds.features.Image, tfds.features.ClassLabel)
  )
  if features.keys() >= _DRAWING_FEATURES:
    contents = ["strokes"]
  first, second = (builder.info.supervised_keys or (None, None))[:2]
  if first in contents and second in labels:
    return first, second
  if len(contents) != 1 or len(labels) != 1:
    text = f"expected images with one label, got {', '.join(sorted(features))}"
    raise UserError("unsupported", where, text)
  return contents[0], labels[0]


def _examples(
  where: str,
  builder: DatasetBuilder,
  split: str,
  label: str,
  wanted: dict[int, int],
) -> Examples:
  """Yields new labels and examples; `wanted` maps old labels to new."""
  with _reading(where):
    source = builder.as_data_source(split=split)
  for start in range(0, len(source), _BLOCK):
    rows = [*range(len(source))[start : start + _BLOCK]]
    with _reading(where):
      block = source.__getitems__(rows)
    for row, example in zip(rows, block, strict=True):
      if example[label] < 0:
        raise UserError("unsupported", where, "has examples without a label")
      if example[label] in wanted:
        yield wanted[int(example[label])], example | {_ROW: row}


def _resize(image: np.ndarray, size: int) -> np.ndarray:
  """Scales [H, W, C] uint8 to [size, size, C]."""
  flat = image[..., 0] if image.shape[-1] == 1 else image
  scaled = Image.fromarray(flat).resize((size, size), Image.Resampling.BILINEAR)
  return np.asarray(scaled).reshape(size, size, -1)


def _drawings(where: str, examples: Examples, names: Sequence[str]) -> Dataset:
  """Builds a dataset in the order of the original files."""
  rows = sorted(examples, key=lambda row: (row[0], row[1]["index"]))
  drawings = [_record(where, example) for _, example in rows]
  number = np.array([example[_ROW] for _, example in rows])
  key = np.array([drawing.key_id or "" for drawing in drawings])
  return Dataset(
    source=strokes.pack(record.drawing for record in drawings),
    label=np.array([label for label, _ in rows], np.int32),
    key=np.fromiter(map(records.key_hash, drawings), np.uint64),
    class_names=tuple(names),
    flags={"recognized": np.array([r.recognized for r in drawings], bool)},
    locate=lambda row: {"index": number[row], "key": key[row]},
  )


def _record(where: str, example: dict[str, Any]) -> records.Record:
  """Inverts `tfds_builder`'s encoding of a drawing."""
  points = example["strokes"]
  end = np.flatnonzero(points[:, 2])
  if not len(end) or end[-1] != len(points) - 1:
    text = "the last point of a drawing ends no stroke"
    raise UserError("unsupported", where, text)
  lengths = np.diff(end, prepend=-1).tolist()
  drawing = strokes.Drawing(points[:, :2], lengths)
  key, country = (
    example[name].decode(errors="surrogatepass")
    for name in ("key_id", "countrycode")
  )
  recognized = bool(example["recognized"])
  return records.Record(drawing, key or None, recognized, country)
