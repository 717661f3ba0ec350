"""A set of TensorFlow Datasets that is prepared on this disk.

Any set of images with one label each, and drawings as `quickdraw_strokes` makes
them of Quick, Draw! files. It is read without TensorFlow, and so must lie in
files of the form array_record. Nothing is downloaded.
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
from alcurr.data import arrays, cache
from alcurr.data.pool import Dataset, check_class_names
from alcurr.data.quickdraw import quickdraw_strokes, records, strokes
from alcurr.data.quickdraw.packed import choose
from alcurr.data.quickdraw.reader import choose_classes

_FORM = "array_record"
_SPLIT = "train"
_AT_ONCE = 1024  # examples
# As tfds.builder takes it, but for sets of other hubs, which it would fetch.
_NAME = re.compile(r"(\w+)(/[\w.+-]+)?(:\d+\.\d+\.\d+)?")
# What drawings have beside strokes and label, see `quickdraw_strokes`.
_OF_DRAWINGS = {"strokes", "recognized", "key_id", "index"}


def load(
  where: str,
  *,
  classes: str | int | Sequence[str] = "all",
  max_per_class: int = 0,
  recognized_only: bool = False,
  image_size: int = 28,
) -> Dataset:
  """The split `train` of a set; see `quickdraw.load` for the other arguments.

  Memory: twice what is chosen, and a thousand examples.

  Args:
    where: a name, such as mnist or emnist/letters:3.1.0, of what lies in the
      folder of TensorFlow Datasets; or a set's folder, that of its version.
    image_size: what images are scaled to if the set leaves their size open;
      others stay as they are.

  Raises:
    UserError: no such set, one that is not prepared, damaged or of another
      kind, an unknown class, or one left without examples.
  """
  builder = _open(where)
  content, label = _fields(where, builder)
  known = builder.info.features[label].names
  names = choose_classes(sorted(known), classes)
  check_class_names(names)
  wanted = {known.index(name): place for place, name in enumerate(names)}
  found = _examples(where, builder, label, wanted)
  if content == "strokes":
    return choose(
      _drawings(where, found, names),
      where,
      classes=names,
      max_per_class=max_per_class,
      recognized_only=recognized_only,
    )
  if recognized_only:
    raise UserError(
      f"{where}: images do not say which drawings were recognized; leave "
      "recognized_only off."
    )
  feature = builder.info.features[content]
  if feature.np_dtype != np.uint8:
    raise UserError(
      f"{where}: its images are {feature.np_dtype}; name a set of uint8 images."
    )
  size = image_size if None in feature.shape else None
  return _images(where, found, content, names, max_per_class, size)


def _open(where: str) -> tfds.core.DatasetBuilder:
  """The set, which can be read."""
  folder = pathlib.Path(where)
  if (folder / "dataset_info.json").is_file():
    with _reading(where):
      builder = tfds.builder_from_directory(folder)
  else:
    builder = _by_name(where)
  if _FORM not in {
    form.value for form in builder.info.available_file_formats()
  }:
    raise UserError(
      f"{where} is prepared as {builder.info.file_format.value}, which only "
      f"TensorFlow reads; prepare it with tfds build --file_format={_FORM}."
    )
  if _SPLIT not in builder.info.splits:
    raise UserError(
      f"{where} has no split {_SPLIT}, but {', '.join(builder.info.splits)}; "
      "name another set."
    )
  return builder


def _by_name(name: str) -> tfds.core.DatasetBuilder:
  parts = _NAME.fullmatch(name)
  known = tfds.list_builders(with_community_datasets=False) if parts else []
  try:
    if not parts:
      raise tfds.core.DatasetNotFoundError
    builder = tfds.builder(name)
  except tfds.core.DatasetNotFoundError as error:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise UserError(
      f"data.dir={name} is neither a folder with a dataset_info.json nor the "
      f"name of a set of TensorFlow Datasets, such as mnist.{hint}"
    ) from error
  except (ValueError, AssertionError) as error:  # the config or the version
    reason = str(error).splitlines()[0].rstrip(".: ")
    raise UserError(f"data.dir={name}: {reason}; name another.") from error
  if not builder.is_prepared():
    command = f"tfds build {name} --file_format={_FORM}"
    if isinstance(builder, quickdraw_strokes.QuickdrawStrokes):
      command = "python -m alcurr.data tfds"
    raise UserError(
      f"{name} is not prepared in {builder.data_dir}; prepare it with "
      f"{command}, or name the folder of the set."
    )
  return builder


@contextlib.contextmanager
def _reading(where: str) -> Iterator[None]:
  """Turns what damage raises, in a set's records and files, into the user's."""
  try:
    yield
  except MemoryError:
    raise
  # A feature is of a class that is imported by its name.
  except (*cache.UNREADABLE, ImportError, json_format.ParseError) as error:
    raise UserError(
      f"{where}: the set is damaged ({error}); prepare it again."
    ) from error


def _fields(where: str, builder: tfds.core.DatasetBuilder) -> tuple[str, str]:
  """The names of what is looked at and of its class."""
  features = builder.info.features
  contents = [
    n for n, f in features.items() if isinstance(f, tfds.features.Image)
  ]
  if features.keys() >= _OF_DRAWINGS:
    contents = ["strokes"]
  labels = [
    n for n, f in features.items() if isinstance(f, tfds.features.ClassLabel)
  ]
  first, second = (builder.info.supervised_keys or (None, None))[:2]
  if first in contents and second in labels:
    return first, second
  if len(contents) != 1 or len(labels) != 1:
    raise UserError(
      f"{where} holds {', '.join(sorted(features))}; name a set of images with "
      "one label each."
    )
  return contents[0], labels[0]


def _examples(
  where: str,
  builder: tfds.core.DatasetBuilder,
  label: str,
  wanted: dict[int, int],
) -> Iterator[tuple[int, dict[str, Any]]]:
  """The examples of some classes, each with what its label becomes.

  Args:
    where: for messages.
    builder: of the set.
    label: the name of that feature.
    wanted: new labels by old ones.
  """
  with _reading(where):
    source = builder.as_data_source(split=_SPLIT)
  for start in range(0, len(source), _AT_ONCE):
    stop = min(start + _AT_ONCE, len(source))
    with _reading(where):
      block = source.__getitems__(list(range(start, stop)))
    for example in block:
      if example[label] < 0:
        raise UserError(f"{where} has examples without a label; name another.")
      if example[label] in wanted:
        yield wanted[int(example[label])], example


def _images(
  where: str,
  found: Iterator[tuple[int, dict[str, Any]]],
  content: str,
  names: Sequence[str],
  max_per_class: int,
  size: int | None,
) -> Dataset:
  """The first so many of each class, in the order of the set."""
  images, labels = [], []
  count = [0] * len(names)
  for label, example in found:
    if not max_per_class or count[label] < max_per_class:
      count[label] += 1
      labels.append(label)
      image = example[content]
      images.append(image if size is None else _scaled(image, size))
  for name, number in zip(names, count, strict=True):
    if not number:
      raise UserError(f"{where}: class {name!r} has no image; leave it out.")
  return arrays.from_arrays(np.stack(images), np.array(labels), names)


def _scaled(image: np.ndarray, size: int) -> np.ndarray:
  """[H, W, C] uint8 to [size, size, C]."""
  flat = image[..., 0] if image.shape[-1] == 1 else image
  scaled = Image.fromarray(flat).resize((size, size), Image.Resampling.BILINEAR)
  return np.asarray(scaled).reshape(size, size, -1)


def _drawings(
  where: str,
  found: Iterator[tuple[int, dict[str, Any]]],
  names: Sequence[str],
) -> Dataset:
  """Drawings in the order of their files, which sets are not in."""
  rows = sorted(found, key=lambda row: (row[0], row[1]["index"]))
  kept = [_record(where, example) for _, example in rows]
  return Dataset(
    source=strokes.pack(record.drawing for record in kept),
    label=np.array([label for label, _ in rows], np.int32),
    key=np.fromiter(map(records.key_hash, kept), np.uint64, len(kept)),
    class_names=tuple(names),
    flags={"recognized": np.array([r.recognized for r in kept], bool)},
  )


def _record(where: str, example: dict[str, Any]) -> records.Record:
  """What `quickdraw_strokes` made an example of."""
  points = example["strokes"]
  end = np.flatnonzero(points[:, 2])
  if not len(end) or end[-1] != len(points) - 1:
    raise UserError(
      f"{where}: a drawing's last point does not end a stroke; name a set that "
      "python -m alcurr.data tfds has made."
    )
  lengths = np.diff(end, prepend=-1).tolist()
  key = example["key_id"].decode(errors="surrogatepass")
  return records.Record(
    strokes.Drawing(points[:, :2], lengths),
    key or None,
    bool(example["recognized"]),
    example["countrycode"].decode(errors="surrogatepass"),
  )
