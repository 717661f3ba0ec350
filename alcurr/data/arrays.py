"""Images that are arrays already: in memory, .npz, Google's 28x28 bitmaps."""

import hashlib
import math
import pathlib
import zipfile
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from alcurr.core import files
from alcurr.core.errors import UserError
from alcurr.data import cache
from alcurr.data.pool import Dataset, check_class_names
from alcurr.types import Images

_SIDE = 28  # of a full_numpy_bitmap
_IMAGE_NAMES = ("images", "image", "x")
_LABEL_NAMES = ("labels", "label", "y")


def content_keys(rows: np.ndarray) -> np.ndarray:
  """A 64-bit hash of each row's bytes: [N] uint64."""
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
  """Any labelled images.

  Args:
    images: [N, H, W] or [N, H, W, C]; uint8, or floats in [0, 1].
    labels: [N] integers from 0, or strings.
    class_names: one for each label; for string labels, their order.

  Raises:
    UserError: arrays that are not that.
  """
  images = check_images(images)
  labels = np.asarray(labels)
  if labels.shape != images.shape[:1]:
    raise UserError(
      f"labels must be one for each of the {len(images)} images, got shape "
      f"{list(labels.shape)}."
    )
  if class_names is not None and len(set(class_names)) < len(class_names):
    raise UserError("class_names must differ from each other.")
  if labels.dtype.kind in "US":
    label, names = _from_strings(labels, class_names)
  elif labels.dtype.kind in "iu":
    label, names = _from_integers(labels, class_names)
  else:
    raise UserError(
      f"labels must be integers or strings, got {labels.dtype}; numbers to be "
      "predicted take a run of your own, see the README."
    )
  count = np.bincount(label, minlength=len(names))
  if count.min() == 0:
    raise UserError(f"class {names[count.argmin()]!r} has no example.")
  check_class_names(names)
  return Dataset(
    source=Images(images),
    label=label.astype(np.int32),
    key=content_keys(images),
    class_names=tuple(names),
    flags={},
  )


def check_images(images: np.ndarray) -> np.ndarray:
  """[N, H, W, C] uint8 or float32."""
  try:
    images = np.asarray(images)
  except ValueError as error:  # lists of unequal lengths
    raise UserError(f"images must all have one shape: {error}.") from error
  if images.ndim == 3:
    images = images[..., None]
  if images.ndim != 4 or not images.size:
    raise UserError(
      "images must be [N, H, W] or [N, H, W, C] and not empty, got shape "
      f"{list(images.shape)}."
    )
  if images.dtype == np.uint8:
    return images
  if not np.issubdtype(images.dtype, np.floating):
    raise UserError(f"images must be uint8 or float, got {images.dtype}.")
  # Checked before float32 rounds: it makes 1 of the next number above 1.
  low, high = images.min(), images.max()
  if np.isnan(low):
    raise UserError("images hold NaN; mend them, or leave those images out.")
  if low < 0 or high > 1:
    raise UserError(
      f"float images must be in [0, 1], got {low:g} to {high:g}; scale them, "
      "or use uint8."
    )
  return images.astype(np.float32)


def _from_strings(
  labels: np.ndarray, class_names: Sequence[str] | None
) -> tuple[np.ndarray, list[str]]:
  """[N] int indices into the names, and the names."""
  if labels.dtype.kind == "S":
    labels = np.strings.decode(labels, "utf-8", "backslashreplace")
  present, place = np.unique(labels, return_inverse=True)
  present = present.tolist()
  names = list(class_names) if class_names is not None else present
  index = {name: i for i, name in enumerate(names)}
  for name in present:
    if name not in index:
      raise UserError(f"label {name!r} is not in class_names.")
  return np.array([index[name] for name in present])[place], names


def _from_integers(
  labels: np.ndarray, class_names: Sequence[str] | None
) -> tuple[np.ndarray, list[str]]:
  """[N] int indices into the names, and the names."""
  if labels.min() < 0:
    raise UserError(f"labels count from 0, got {labels.min()}.")
  if class_names is None:
    # Before as many names are made as the largest label says.
    present = np.unique(labels)
    gap = np.flatnonzero(present != np.arange(len(present)))
    if len(gap):
      raise UserError(
        f"class '{gap[0]}' has no example; number the classes without gaps."
      )
    class_names = [str(label) for label in present]
  if labels.max() >= len(class_names):
    raise UserError(
      f"label {labels.max()} has no name among {len(class_names)} class_names."
    )
  return labels.astype(np.int64), list(class_names)


def load_npz(path: str | pathlib.Path) -> Dataset:
  """A .npz file of images and labels, see `from_arrays`.

  The arrays are `images`, `image` or `x`, and `labels`, `label` or `y`.

  Memory: those two arrays and, of images that are floats, a copy as float32;
  an array larger than its entry of the archive is refused before it is made.
  No archive holds more than 1032 times its own size, the most of deflate.

  Raises:
    UserError: no such file, damaged, pickled, or arrays that do not fit.
  """
  try:
    file = np.load(path, allow_pickle=False)
    if not isinstance(file, np.lib.npyio.NpzFile):
      raise ValueError("it is one array, not an archive of them")
    with file:
      _check_sizes(file.zip)
      chosen = [
        next((name for name in names if name in file), None)
        for names in (_IMAGE_NAMES, _LABEL_NAMES)
      ]
      if None in chosen:
        raise UserError(
          f"it must hold the arrays images and labels (or image and label, "
          f"or x and y), and holds {', '.join(file.files) or 'none'}."
        )
      images, labels = (file[name] for name in chosen)
    return from_arrays(images, labels)
  except FileNotFoundError as error:
    raise UserError(f"{path}: no such file.") from error
  except UserError as error:
    raise UserError(f"{path}: {error}") from error
  except cache.UNREADABLE as error:
    raise UserError(
      f"{path}: not a whole .npz file of plain arrays ({error})."
    ) from error


def keep_npz(
  images: np.ndarray, labels: np.ndarray, folder: pathlib.Path
) -> pathlib.Path:
  """Writes images and labels as a file for `load_npz`, named by its content.

  Args:
    images: see `from_arrays`.
    labels: likewise.
    folder: where; made if need be. A file of the same content stays.

  Raises:
    UserError: arrays that are not that.
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


def _check_sizes(archive: zipfile.ZipFile) -> None:
  """Refuses arrays that claim more bytes than their entries hold."""
  for entry in archive.infolist():
    with archive.open(entry) as file:
      _check_size(file, entry.file_size, entry.filename)


def _check_size(file: BinaryIO, size: int, name: str) -> None:
  """Refuses a .npy of so many bytes whose header claims other than it holds."""
  version = np.lib.format.read_magic(file)
  read = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }.get(version)
  if read is None:
    raise ValueError(f"{name} is of the unknown version {version}")
  shape, _, dtype = read(file)
  held = size - file.tell()
  if dtype.hasobject:
    raise ValueError(f"{name} holds Python objects")
  if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != held:
    raise ValueError(
      f"{name} claims {list(shape)} {dtype}, but holds {held} bytes"
    )


def load_bitmap(path: str | pathlib.Path) -> np.ndarray:
  """A full_numpy_bitmap_<class>.npy: [N, 784] uint8, mapped, not read.

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
      f"{path}: not a whole .npy file of plain numbers ({error})."
    ) from error
  if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != _SIDE**2:
    raise UserError(
      f"{path}: a bitmap file is [N, {_SIDE**2}] uint8, this is "
      f"{list(rows.shape)} {rows.dtype}."
    )
  if not len(rows):
    raise UserError(f"{path}: it holds no drawing.")
  return rows


def bitmap_images(rows: np.ndarray) -> Images:
  """[N, 784] to Images of [N, 28, 28, 1]."""
  return Images(np.asarray(rows).reshape(-1, _SIDE, _SIDE, 1))
