"""Images that are arrays already: in memory, .npz, Google's 28x28 bitmaps."""

import functools
import hashlib
import math
import pathlib
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from alcurr.core import files
from alcurr.core.errors import UserError
from alcurr.data import cache
from alcurr.data.pool import Dataset, check_class_names
from alcurr.types import Images

_NAMES = (("images", "image", "x"), ("labels", "label", "y"))


def content_keys(rows: np.ndarray) -> np.ndarray:
  """Returns a 64-bit hash of the bytes of each row: [N] uint64."""
  rows = np.ascontiguousarray(rows).reshape(len(rows), -1)
  digests = [hashlib.blake2b(row, digest_size=8).digest() for row in rows]
  return np.frombuffer(b"".join(digests), np.uint64)


def from_arrays(
  images: np.ndarray,
  labels: np.ndarray,
  class_names: Sequence[str] | None = None,
) -> Dataset:
  """Builds a dataset of labelled images.

  Args:
    images: [N, H, W] or [N, H, W, C]; uint8, or floats in [0, 1].
    labels: [N] integers from 0, or strings.
    class_names: a name for each label; for string labels, their order.

  Raises:
    UserError: another shape, type or range, or a class without examples.
  """
  images = check_images(images)
  labels = np.asarray(labels)
  shape, kind = list(labels.shape), labels.dtype.kind
  _require(shape == [len(images)], "labels", f"[{len(images)}]", shape)
  _require(kind in "iuUS", "labels", "integers or strings", labels.dtype)
  if kind == "S":
    labels = np.strings.decode(labels, "utf-8", "backslashreplace")
  present, place = np.unique(labels, return_inverse=True)
  present = present.tolist()
  # Not up to the largest label, which may be huge.
  names = list(map(str, present if class_names is None else class_names))
  _require(len({*names}) == len(names), "class_names", "unique names", names)
  index = {label: i for i, label in enumerate(names)}
  expected = "one of class_names"
  if kind in "iu":
    index = {i: i for i in range(len(names))}
    expected = f"0 to {len(names) - 1}"
  for label in present:
    _require(label in index, "labels", expected, repr(label))
  unused = sorted({*index} - {*present})
  _require(not unused, "labels", "examples of all classes", f"none of {unused}")
  label = np.array([index[label] for label in present], np.int32)[place]
  check_class_names(names)
  return Dataset(Images(images), label, content_keys(images), tuple(names), {})


def _require(ok: bool, place: str, expected: str, got: object) -> None:
  if not ok:
    raise UserError("data", place, f"expected {expected}, got {got}")


def check_images(images: np.ndarray) -> np.ndarray:
  """Returns [N, H, W, C] uint8 or float32."""
  try:
    images = np.asarray(images)
  except ValueError as error:  # lists of unequal lengths
    raise UserError("data", "images", "expected one shape for all") from error
  if images.ndim == 3:
    images = images[..., None]
  good, shape = images.ndim == 4 and images.size > 0, list(images.shape)
  _require(good, "images", "[N, H, W] or [N, H, W, C], not empty", shape)
  if images.dtype == np.uint8:
    return images
  good = images.dtype.kind == "f"
  _require(good, "images", "uint8 or floats", images.dtype)
  # Checked before float32 rounds the next number above 1 to 1; NaN fails too.
  low, high = images.min(), images.max()
  good = low >= 0 and high <= 1
  _require(good, "images", "floats in [0, 1], or uint8", f"{low:g} to {high:g}")
  return images.astype(np.float32)


def load_npz(path: str | pathlib.Path) -> Dataset:
  """Reads a .npz file of images and labels; see `from_arrays`.

  The arrays are `images`, `image` or `x`, and `labels`, `label` or `y`.

  Memory: those two arrays and, for floats, a float32 copy.

  Raises:
    UserError: a missing, damaged or pickled file, or unusable arrays.
  """
  try:
    file = np.load(path, allow_pickle=False)
    if not isinstance(file, np.lib.npyio.NpzFile):
      raise ValueError("it is one array, not an archive of them")
    with file:
      # Before an array is allocated, which its header may claim to be huge.
      for entry in file.zip.infolist():
        with file.zip.open(entry) as content:
          _check_size(content, entry.file_size, entry.filename)
      arrays = [
        next((file[name] for name in names if name in file), None)
        for names in _NAMES
      ]
      got = ", ".join(file.files) or "none"
  except FileNotFoundError as error:
    raise UserError("missing", path, "no such file") from error
  except cache.UNREADABLE as error:
    text = f"not a complete .npz file of plain arrays ({error})"
    raise UserError("damaged", path, text) from error
  complete = all(array is not None for array in arrays)
  _require(complete, path, "arrays images and labels, or x and y", got)
  try:
    return from_arrays(*arrays)
  except UserError as error:
    raise UserError(error.code, path, str(error)) from error


def save_npz(
  images: np.ndarray, labels: np.ndarray, folder: pathlib.Path
) -> pathlib.Path:
  """Writes a file for `load_npz`, named by its content, and returns its path.

  Creates the folder if necessary. Images, labels and errors are those of
  `from_arrays`.
  """
  dataset, labels = from_arrays(images, labels), np.asarray(labels)
  image = dataset.source.image
  content = hashlib.blake2b(dataset.key.tobytes(), digest_size=8)
  content.update(f"{image.shape} {labels.dtype}".encode() + labels.tobytes())
  path = folder / f"arrays_{content.hexdigest()}.npz"
  if not path.exists():
    folder.mkdir(parents=True, exist_ok=True)
    write = functools.partial(np.savez, images=image, labels=labels)
    files.write_file(path, write)
  return path


def _check_size(file: BinaryIO, size: int, name: str) -> None:
  """Raises ValueError if the header of a .npy of `size` bytes is wrong."""
  major, minor = np.lib.format.read_magic(file)
  # NumPy lacks the function for an unknown version.
  read_header = getattr(np.lib.format, f"read_array_header_{major}_{minor}")
  shape, _, dtype = read_header(file)
  actual = size - file.tell()
  if dtype.hasobject:
    raise ValueError(f"{name} holds Python objects")
  if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != actual:
    claim = f"{list(shape)} {dtype}"
    raise ValueError(f"{name} claims {claim}, but holds {actual} bytes")


def load_bitmap(path: str | pathlib.Path) -> np.ndarray:
  """Maps a full_numpy_bitmap_<class>.npy: [N, 784] uint8.

  Memory: that of the header, for a file of any size.

  Raises:
    UserError: truncated, pickled, empty, or of another type or shape.
  """
  path = pathlib.Path(path)
  try:
    with path.open("rb") as file:
      _check_size(file, path.stat().st_size, path.name)
    rows = np.lib.format.open_memmap(path, mode="r")
  except cache.UNREADABLE as error:
    text = f"not a complete .npy file of plain numbers ({error})"
    raise UserError("damaged", path, text) from error
  good = rows.dtype == np.uint8 and rows.shape[1:] == (784,) and len(rows) > 0
  got = f"{list(rows.shape)} {rows.dtype}"
  _require(good, path, "bitmaps of [N, 784] uint8", got)
  return rows
