"""Images that are arrays already: in memory, .npz, Google's 28x28 bitmaps."""

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

_IMAGE_NAMES = ("images", "image", "x")
_LABEL_NAMES = ("labels", "label", "y")


def content_keys(rows: np.ndarray) -> np.ndarray:
  """Returns a 64-bit hash of each row's bytes: [N] uint64."""
  rows = np.ascontiguousarray(rows).reshape(len(rows), -1)
  digests = b"".join(
    hashlib.blake2b(row.data, digest_size=8).digest() for row in rows
  )
  return np.frombuffer(digests, np.uint64)


def from_arrays(
  images: np.ndarray,
  labels: np.ndarray,
  class_names: Sequence[str] | None = None,
) -> Dataset:
  """Builds a dataset of labelled images.

  Args:
    images: [N, H, W] or [N, H, W, C]; uint8, or floats in [0, 1].
    labels: [N] integers from 0, or strings.
    class_names: one for each label; for string labels, their order.

  Raises:
    UserError: arrays of another shape, type or range, or a class without
      examples.
  """
  images = _check_images(images)
  labels = np.asarray(labels)
  if labels.shape != images.shape[:1]:
    raise UserError(
      "data", "labels", f"expected [{len(images)}], got {list(labels.shape)}"
    )
  if class_names is not None and len(set(class_names)) < len(class_names):
    raise UserError("data", "class_names", "names are not unique")
  if labels.dtype.kind in "US":
    label, names = _from_strings(labels, class_names)
  elif labels.dtype.kind in "iu":
    label, names = _from_integers(labels, class_names)
  else:
    raise UserError(
      "type",
      "labels",
      f"expected integers or strings, got {labels.dtype}; for regression, "
      "write a training loop with `alcurr.samplers`",
    )
  count = np.bincount(label, minlength=len(names))
  if count.min() == 0:
    raise UserError(
      "data", "labels", f"class {names[count.argmin()]!r} has no example"
    )
  check_class_names(names)
  return Dataset(
    source=Images(images),
    label=label.astype(np.int32),
    key=content_keys(images),
    class_names=tuple(names),
    flags={},
  )


def _check_images(images: np.ndarray) -> np.ndarray:
  """Returns [N, H, W, C] uint8 or float32."""
  try:
    images = np.asarray(images)
  except ValueError as error:  # lists of unequal lengths
    raise UserError(
      "data", "images", f"expected one shape for all: {error}"
    ) from error
  if images.ndim == 3:
    images = images[..., None]
  if images.ndim != 4 or not images.size:
    raise UserError(
      "data",
      "images",
      "expected [N, H, W] or [N, H, W, C], not empty, got "
      f"{list(images.shape)}",
    )
  if images.dtype == np.uint8:
    return images
  if not np.issubdtype(images.dtype, np.floating):
    raise UserError(
      "type", "images", f"expected uint8 or floats, got {images.dtype}"
    )
  # Checked before float32 rounds the next number above 1 to 1.
  low, high = images.min(), images.max()
  if not (low >= 0 and high <= 1):  # so NaN fails
    raise UserError(
      "range",
      "images",
      f"expected floats in [0, 1] or uint8, got {low:g} to {high:g}",
    )
  return images.astype(np.float32)


def _from_strings(
  labels: np.ndarray, class_names: Sequence[str] | None
) -> tuple[np.ndarray, list[str]]:
  """Returns [N] int indices into the names, and the names."""
  if labels.dtype.kind == "S":
    labels = np.strings.decode(labels, "utf-8", "backslashreplace")
  present, place = np.unique(labels, return_inverse=True)
  present = present.tolist()
  names = list(class_names) if class_names is not None else present
  index = {name: i for i, name in enumerate(names)}
  for name in present:
    if name not in index:
      raise UserError("unknown", "labels", f"{name!r} is not in class_names")
  return np.array([index[name] for name in present])[place], names


def _from_integers(
  labels: np.ndarray, class_names: Sequence[str] | None
) -> tuple[np.ndarray, list[str]]:
  """Returns [N] int indices into the names, and the names."""
  if labels.min() < 0:
    raise UserError("range", "labels", f"expected >= 0, got {labels.min()}")
  if class_names is None:
    # Checked before names up to a stray large label are made.
    present = np.unique(labels)
    gap = np.flatnonzero(present != np.arange(len(present)))
    if len(gap):
      raise UserError(
        "data",
        "labels",
        f"class '{gap[0]}' has no example; number the classes without gaps",
      )
    class_names = [str(label) for label in present]
  if labels.max() >= len(class_names):
    raise UserError(
      "range",
      "labels",
      f"expected < {len(class_names)}, the number of class_names, got "
      f"{labels.max()}",
    )
  return labels.astype(np.int64), list(class_names)


def load_npz(path: str | pathlib.Path) -> Dataset:
  """Reads a .npz file of images and labels; see `from_arrays`.

  The arrays are `images`, `image` or `x`, and `labels`, `label` or `y`.

  Memory: those two arrays and, for floats, a float32 copy. An array larger
  than its entry of the archive is refused first; deflate compresses by 1032 at
  most.

  Raises:
    UserError: a file that is missing, damaged or pickled, or arrays that do
      not fit.
  """
  try:
    file = np.load(path, allow_pickle=False)
    if not isinstance(file, np.lib.npyio.NpzFile):
      raise ValueError("it is one array, not an archive of them")
    with file:
      for entry in file.zip.infolist():
        with file.zip.open(entry) as content:
          _check_size(content, entry.file_size, entry.filename)
      chosen = [
        next((name for name in names if name in file), None)
        for names in (_IMAGE_NAMES, _LABEL_NAMES)
      ]
      if None in chosen:
        raise UserError(
          "missing",
          path,
          "expected arrays images and labels (or image and label, or x and "
          f"y), got {', '.join(file.files) or 'none'}",
        )
      images, labels = (file[name] for name in chosen)
  except FileNotFoundError as error:
    raise UserError("missing", path, "no such file") from error
  except UserError:
    raise
  except cache.UNREADABLE as error:
    raise UserError(
      "damaged", path, f"not a complete .npz file of plain arrays ({error})"
    ) from error
  try:
    return from_arrays(images, labels)
  except UserError as error:
    raise UserError(error.code, path, str(error)) from error


def save_npz(
  images: np.ndarray, labels: np.ndarray, folder: pathlib.Path
) -> pathlib.Path:
  """Writes a file for `load_npz`, named by its content, and returns its path.

  Args:
    images: see `from_arrays`.
    labels: see `from_arrays`.
    folder: created if necessary; a file of the same content is not rewritten.

  Raises:
    UserError: as `from_arrays`.
  """
  dataset = from_arrays(images, labels)
  labels = np.asarray(labels)
  content = hashlib.blake2b(dataset.key.tobytes(), digest_size=8)
  content.update(f"{dataset.source.image.shape} {labels.dtype}".encode())
  content.update(labels.tobytes())
  path = folder / f"arrays_{content.hexdigest()}.npz"
  if not path.exists():
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"images": dataset.source.image, "labels": labels}
    files.write_file(path, lambda file: np.savez(file, **arrays))
  return path


def _check_size(file: BinaryIO, size: int, name: str) -> None:
  """Raises ValueError if a .npy of `size` bytes is not what its header says."""
  version = np.lib.format.read_magic(file)
  read = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }.get(version)
  if read is None:
    raise ValueError(f"{name} is of the unknown version {version}")
  shape, _, dtype = read(file)
  actual = size - file.tell()
  if dtype.hasobject:
    raise ValueError(f"{name} holds Python objects")
  if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != actual:
    raise ValueError(
      f"{name} claims {list(shape)} {dtype}, but holds {actual} bytes"
    )


def load_bitmap(path: str | pathlib.Path) -> np.ndarray:
  """Maps a full_numpy_bitmap_<class>.npy: [N, 784] uint8.

  Memory: that of the header, whatever the file's size.

  Raises:
    UserError: truncated, pickled, empty, or of another type or shape.
  """
  path = pathlib.Path(path)
  try:
    with path.open("rb") as file:
      _check_size(file, path.stat().st_size, path.name)
    rows = np.lib.format.open_memmap(path, mode="r")
  except cache.UNREADABLE as error:
    raise UserError(
      "damaged", path, f"not a complete .npy file of plain numbers ({error})"
    ) from error
  if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 784:
    raise UserError(
      "data",
      path,
      f"expected a bitmap of [N, 784] uint8, got {list(rows.shape)} "
      f"{rows.dtype}",
    )
  if not len(rows):
    raise UserError("data", path, "it holds no drawing")
  return rows
