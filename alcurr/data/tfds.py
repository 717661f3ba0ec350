"""Datasets of TensorFlow Datasets that were prepared on this disk.

These are sets of images with one label each, and drawings as the builder
`quickdraw_strokes` stores them. They are read without TensorFlow, and so must
be array_record files. Nothing is downloaded.
"""

import contextlib
import difflib
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf import json_format
from PIL import Image

from alcurr.core.errors import UserError
from alcurr.data import arrays, cache, strokes
from alcurr.data.pool import Dataset, choose_classes
from alcurr.data.quickdraw import records, tfds_builder
from alcurr.data.quickdraw.packed import choose

_FORMAT = "array_record"
_SPLIT = "train"
_BLOCK = 1024  # examples
# Names that tfds.builder knows, without those of hubs, which it would download.
_NAME = re.compile(r"(\w+)(/[\w.+-]+)?(:\d+\.\d+\.\d+)?")
# Features by which drawings are recognized; see `tfds_builder`.
_DRAWING_FEATURES = {"strokes", "recognized", "key_id", "index"}


def load(
  where: str,
  *,
  classes: str | int | Sequence[str] = "all",
  max_per_class: int = 0,
  recognized_only: bool = False,
  image_size: int = 28,
) -> Dataset:
  """Reads the split `train` of a set.

  Memory: twice what is chosen, and a thousand examples.

  Args:
    where: the folder of a set's version; or a name, such as mnist or
      emnist/letters:3.1.0, of a set in the folder of TensorFlow Datasets.
    classes: see `alcurr.data.pool.choose_classes`.
    max_per_class: the first ones of each class; 0 for all.
    recognized_only: omits drawings with `recognized: false`.
    image_size: pixels of a side, for sets that do not fix the size.

  Raises:
    UserError: a set that is missing, not prepared, damaged or of another
      kind, or an unknown or empty class.
  """
  builder = _open(where)
  content, label = _fields(where, builder)
  known = builder.info.features[label].names
  names = choose_classes(sorted(known), classes)
  wanted = {known.index(name): place for place, name in enumerate(names)}
  examples = _examples(where, builder, label, wanted)
  if content == "strokes":
    return choose(
      _drawings(where, examples, names),
      where,
      classes=names,
      max_per_class=max_per_class,
      recognized_only=recognized_only,
    )
  if recognized_only:
    raise UserError("conflict", "recognized_only", "images have no such flag")
  feature = builder.info.features[content]
  if feature.np_dtype != np.uint8:
    raise UserError(
      "unsupported", where, f"expected uint8 images, got {feature.np_dtype}"
    )
  images, labels = [], []
  count = [0] * len(names)
  for label, example in examples:
    if not max_per_class or count[label] < max_per_class:
      count[label] += 1
      labels.append(label)
      image = example[content]
      open_size = None in feature.shape
      images.append(_resize(image, image_size) if open_size else image)
  if not min(count):
    name = names[count.index(0)]
    raise UserError("data", where, f"class {name!r} has no image")
  return arrays.from_arrays(np.stack(images), np.array(labels), names)


def _open(where: str) -> tfds.core.DatasetBuilder:
  folder = pathlib.Path(where)
  if (folder / "dataset_info.json").is_file():
    with _reading(where):
      builder = tfds.builder_from_directory(folder)
  else:
    builder = _by_name(where)
  formats = {f.value for f in builder.info.available_file_formats()}
  if _FORMAT not in formats:
    raise UserError(
      "unsupported",
      where,
      f"expected {_FORMAT} files, got {builder.info.file_format.value}; "
      f"prepare it with tfds build --file_format={_FORMAT}",
    )
  if _SPLIT not in builder.info.splits:
    raise UserError(
      "missing",
      where,
      f"expected a split {_SPLIT}, got {', '.join(builder.info.splits)}",
    )
  return builder


def _by_name(name: str) -> tfds.core.DatasetBuilder:
  try:
    if not _NAME.fullmatch(name):
      raise tfds.core.DatasetNotFoundError
    builder = tfds.builder(name)
  except tfds.core.DatasetNotFoundError as error:
    known = tfds.list_builders(with_community_datasets=False)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise UserError(
      "unknown",
      "dir",
      "expected a folder with a dataset_info.json, or the name of a set of "
      f"TensorFlow Datasets such as mnist, got {name}{hint}",
    ) from error
  except (ValueError, AssertionError) as error:  # the config or the version
    reason = str(error).splitlines()[0].rstrip(".: ")
    raise UserError("unknown", "dir", f"{name}: {reason}") from error
  if not builder.is_prepared():
    command = f"tfds build {name} --file_format={_FORMAT}"
    if isinstance(builder, tfds_builder.QuickdrawStrokes):
      command = "python -m alcurr.data tfds"
    raise UserError(
      "missing",
      "dir",
      f"{name} is not prepared in {builder.data_dir}; run {command}, or name "
      "the folder of the set",
    )
  return builder


@contextlib.contextmanager
def _reading(where: str) -> Iterator[None]:
  """Turns what damaged records and files raise into a UserError."""
  try:
    yield
  except MemoryError:
    raise
  # A feature's class is imported by the name that the file gives.
  except (*cache.UNREADABLE, ImportError, json_format.ParseError) as error:
    raise UserError(
      "damaged", where, f"cannot be read ({error}); prepare it again"
    ) from error


def _fields(where: str, builder: tfds.core.DatasetBuilder) -> tuple[str, str]:
  """Returns the names of the image or drawing feature, and of the label."""
  features = builder.info.features

  def of_kind(kind: type) -> list[str]:
    return [n for n, feature in features.items() if isinstance(feature, kind)]

  contents = of_kind(tfds.features.Image)
  if features.keys() >= _DRAWING_FEATURES:
    contents = ["strokes"]
  labels = of_kind(tfds.features.ClassLabel)
  first, second = (builder.info.supervised_keys or (None, None))[:2]
  if first in contents and second in labels:
    return first, second
  if len(contents) != 1 or len(labels) != 1:
    raise UserError(
      "unsupported",
      where,
      f"expected images with one label each, got {', '.join(sorted(features))}",
    )
  return contents[0], labels[0]


def _examples(
  where: str,
  builder: tfds.core.DatasetBuilder,
  label: str,
  wanted: dict[int, int],
) -> Iterator[tuple[int, dict[str, Any]]]:
  """Yields the new label and the example, for labels that are `wanted`."""
  with _reading(where):
    source = builder.as_data_source(split=_SPLIT)
  for start in range(0, len(source), _BLOCK):
    stop = min(start + _BLOCK, len(source))
    with _reading(where):
      block = source.__getitems__(list(range(start, stop)))
    for example in block:
      if example[label] < 0:
        raise UserError("unsupported", where, "has examples without a label")
      if example[label] in wanted:
        yield wanted[int(example[label])], example


def _resize(image: np.ndarray, size: int) -> np.ndarray:
  """Scales [H, W, C] uint8 to [size, size, C]."""
  flat = image[..., 0] if image.shape[-1] == 1 else image
  scaled = Image.fromarray(flat).resize((size, size), Image.Resampling.BILINEAR)
  return np.asarray(scaled).reshape(size, size, -1)


def _drawings(
  where: str,
  examples: Iterator[tuple[int, dict[str, Any]]],
  names: Sequence[str],
) -> Dataset:
  """Builds a dataset in the order of the original files."""
  rows = sorted(examples, key=lambda row: (row[0], row[1]["index"]))
  found = [_record(where, example) for _, example in rows]
  return Dataset(
    source=strokes.pack(record.drawing for record in found),
    label=np.array([label for label, _ in rows], np.int32),
    key=np.fromiter(map(records.key_hash, found), np.uint64, len(found)),
    class_names=tuple(names),
    flags={"recognized": np.array([r.recognized for r in found], bool)},
  )


def _record(where: str, example: dict[str, Any]) -> records.Record:
  """Inverts `tfds_builder`'s encoding of a drawing."""
  points = example["strokes"]
  end = np.flatnonzero(points[:, 2])
  if not len(end) or end[-1] != len(points) - 1:
    raise UserError(
      "unsupported", where, "the last point of a drawing ends no stroke"
    )
  lengths = np.diff(end, prepend=-1).tolist()
  key = example["key_id"].decode(errors="surrogatepass")
  return records.Record(
    strokes.Drawing(points[:, :2], lengths),
    key or None,
    bool(example["recognized"]),
    example["countrycode"].decode(errors="surrogatepass"),
  )
