"""Files of arrays: .npz of images or rows, and Google's 28x28 bitmaps."""

import functools
import hashlib
import math
import pathlib
import re
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from absl import logging

from alcurr.core import files, paths
from alcurr.core.errors import UserError
from alcurr.data import cache, rows
from alcurr.data.arrays import from_arrays
from alcurr.data.image_values import Range, parse_range, plain_images
from alcurr.data.labels import require
from alcurr.data.pool import Dataset
from alcurr.types import Images

# Of Keras's and MedMNIST's archives the training part.
_NAMES = (
  ("images", "image", "inputs", "x", "x_train", "train_images", "data"),
  ("labels", "label", "y", "y_train", "train_labels", "target"),
)
# Of their other parts, and of a part in a file of its own.
_NAMES_OF = {
  "valid": (
    ("x_val", "val_images", "x_valid", "valid_images"),
    ("y_val", "val_labels", "y_valid", "valid_labels"),
  ),
  "test": (("x_test", "test_images"), ("y_test", "test_labels")),
  "probe": (("x_probe", "probe_images"), ("y_probe", "probe_labels")),
}
# Of rows that are a dict of arrays, before the name of each.
_ENTRY = "inputs."
_OPTIONAL = ("class_names", "groups", "group_names")


def load_npz(
  path: str | pathlib.Path,
  *,
  value_range: Range = None,
  channels_first: bool = False,
  max_bytes: int = 2**31,
  split: str = "train",
  regression: bool = False,
) -> Dataset:
  """Reads a .npz file of images or rows and labels; see `from_arrays`.

  The arrays are called `images`, `image`, `inputs`, `x`, `x_train`,
  `train_images` or `data`, or each `inputs.<name>` of a dict. Those of labels
  are `labels`, `label`, `y`, `y_train`, `train_labels` or `target`. All may be
  in upper case. The arrays `class_names`, `groups` and `group_names` are
  optional. Another split than "train" is read from `x_test` or `test_images`,
  `x_val` or `val_images`, and so on, if the file has them; it has no groups.

  Memory: those arrays and, for floats, a float32 copy.

  Args:
    path: the file.
    value_range: see `check_images`.
    channels_first: see `check_images`.
    max_bytes: limit of the arrays together, unless the file itself is larger.
    split: "train", "valid", "test" or "probe".
    regression: see `from_arrays`.

  Raises:
    UserError: a missing, damaged, pickled or oversized file, or unusable
      arrays.
  """
  path, value_range = paths.absolute(path), parse_range(value_range)
  try:
    files.check_regular(path)
    # A single array, which it must not be, would be read without a map.
    file = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(file, np.lib.npyio.NpzFile):
      raise ValueError("it is one array, not an archive of them")
    with file:
      # Before anything is decompressed, or allocated as a header claims.
      size = sum(entry.file_size for entry in file.zip.infolist())
      limit = max(max_bytes, path.stat().st_size)
      expected = f"at most {limit} bytes, or a larger max_bytes"
      require(size <= limit, path, expected, size)
      for entry in file.zip.infolist():
        with file.zip.open(entry) as content:
          _check_size(content, entry.file_size, entry.filename)
      present = {name.lower() for name in file.files}
      own = _NAMES_OF.get(split, ())
      has_own = present & {name for names in own for name in names}
      of_inputs, of_labels = own if has_own else _NAMES
      names = [name for name in file.files if name.startswith(_ENTRY)]
      if names:
        inputs = {name.removeprefix(_ENTRY): file[name] for name in names}
      else:
        names = [_one_of(file.files, of_inputs, path)]
        inputs = file[names[0]]
      names.append(_one_of(file.files, of_labels, path))
      labels = file[names[-1]]
      optional = {name: file.get(name) for name in _OPTIONAL}
      if split != "train":
        optional["groups"] = None  # of the training data alone
      unused = sorted({*file.files} - {*names, *_OPTIONAL})
  except FileNotFoundError as error:
    raise UserError("missing", path, "no such file") from error
  except UserError:
    raise
  except cache.UNREADABLE as error:
    # The rest of NumPy's text tells how to load a pickle.
    reason = str(error).partition(". ")[0]
    text = f"not a complete .npz file of plain arrays ({reason})"
    raise UserError("damaged", path, text) from error
  if unused and split == "train":
    text = "%s: not used for training: %s."
    logging.warning(text, path, ", ".join(unused))
  try:
    if regression:
      optional["class_names"] = None
    return from_arrays(
      inputs,
      labels,
      **optional,
      value_range=value_range,
      channels_first=channels_first,
      every_class=split == "train",
      regression=regression,
    )
  except UserError as error:
    raise UserError(error.code, path, str(error)) from error


def _one_of(
  present: Sequence[str], names: Sequence[str], path: pathlib.Path
) -> str:
  """Returns the only array of an archive that has one of the names."""
  found = [name for name in present if name.lower() in names]
  got = ", ".join(present) or "none"
  require(len(found) == 1, path, f"one array of {', '.join(names)}", got)
  return found[0]


def save_npz(
  inputs: Any,
  labels: Any,
  folder: pathlib.Path,
  *,
  value_range: Range = None,
  channels_first: bool = False,
  class_names: Sequence[str] | None = None,
  groups: Any = None,
  every_class: bool = True,
  regression: bool = False,
) -> pathlib.Path:
  """Writes a file for `load_npz`, named by its content, and returns its path.

  The file has images as they are given: `load_npz` takes the same options.
  Creates the folder if necessary. The arguments and errors are those of
  `from_arrays`.
  """
  if not rows.has_columns(inputs):
    inputs = plain_images(inputs)
  dataset = from_arrays(
    inputs,
    labels,
    value_range=value_range,
    channels_first=channels_first,
    class_names=class_names,
    groups=groups,
    every_class=every_class,
    regression=regression,
  )
  arrays = {"labels": dataset.label, "class_names": dataset.class_names}
  if regression:
    arrays = {"labels": dataset.target}
  if isinstance(dataset.source, Images):
    arrays["images"] = inputs
  elif isinstance(dataset.source.inputs, dict):
    for name, array in dataset.source.inputs.items():
      arrays[_ENTRY + name] = array
  else:
    arrays["inputs"] = dataset.source.inputs
  content = hashlib.blake2b(dataset.key.tobytes(), digest_size=8)
  kinds = [(n, np.shape(a), np.asarray(a).dtype.str) for n, a in arrays.items()]
  text = f"{kinds} {value_range} {dataset.class_names}"
  content.update(text.encode() + arrays["labels"].tobytes())
  if groups is not None:
    arrays |= {"groups": dataset.groups, "group_names": dataset.group_names}
    content.update(repr(dataset.group_names).encode())
    content.update(dataset.groups.tobytes())
  path = folder / f"arrays_{content.hexdigest()}.npz"
  if not path.exists():
    folder.mkdir(parents=True, exist_ok=True)
    write = functools.partial(np.savez, **arrays)
    files.write_file(path, write)
  return path


def is_of_arrays(path: str) -> bool:
  """Returns whether a file has a name that `save_npz` gives."""
  name = pathlib.PurePath(path).name
  return re.fullmatch(r"arrays_[0-9a-f]{16}\.npz", name) is not None


def _check_size(file: BinaryIO, size: int, name: str) -> None:
  """Raises ValueError if the header of a .npy of `size` bytes is wrong."""
  major, minor = np.lib.format.read_magic(file)
  # NumPy lacks the function for an unknown version.
  read_header = getattr(np.lib.format, f"read_array_header_{major}_{minor}")
  shape, _, dtype = read_header(file)
  actual = size - file.tell()
  if dtype.hasobject:
    # Not .astype(str), which pandas has for a type of its own.
    array = name.removesuffix(".npy")
    text = f"{name} holds Python objects, a pickle; save texts as "
    if name in ("train.npy", "valid.npy", "test.npy"):
      text = f"{name} is pickled, as in sketch-rnn's files; use its class's "
      raise ValueError(f"{text}.ndjson, see python -m alcurr.data download")
    raise ValueError(f"{text}numpy.array({array}, dtype='U')")
  if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != actual:
    claim = f"{list(shape)} {dtype}"
    raise ValueError(f"{name} claims {claim}, but holds {actual} bytes")


def load_bitmap(path: str | pathlib.Path) -> np.ndarray:
  """Maps a full_numpy_bitmap_<class>.npy: [N, 784] uint8.

  Memory: that of the header, for a file of any size.

  Raises:
    UserError: truncated, pickled, empty, or of another type or shape.
  """
  path = paths.absolute(path)
  try:
    files.check_regular(path)
    with path.open("rb") as file:
      _check_size(file, path.stat().st_size, path.name)
    rows = np.lib.format.open_memmap(path, mode="r")
  except UserError:
    raise
  except cache.UNREADABLE as error:
    text = f"not a complete .npy file of plain numbers ({error})"
    raise UserError("damaged", path, text) from error
  good = rows.dtype == np.uint8 and rows.shape[1:] == (784,) and len(rows) > 0
  got = f"{list(rows.shape)} {rows.dtype}"
  require(good, path, "bitmaps of [N, 784] uint8", got)
  return rows
