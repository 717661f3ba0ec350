"""Images that are arrays already: in memory, .npz, Google's 28x28 bitmaps."""

import hashlib
import pathlib
import zipfile
from collections.abc import Sequence

import numpy as np

from alcurr.data.pool import Dataset
from alcurr.errors import UserError
from alcurr.types import Images

_SIDE = 28  # of a full_numpy_bitmap


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
  images, labels = np.asarray(images), np.asarray(labels)
  if images.ndim == 3:
    images = images[..., None]
  if images.ndim != 4 or not images.size:
    raise UserError(
      "images must be [N, H, W] or [N, H, W, C] and not empty, got shape "
      f"{list(images.shape)}."
    )
  if labels.shape != images.shape[:1]:
    raise UserError(
      f"labels must be one for each of the {len(images)} images, got shape "
      f"{list(labels.shape)}."
    )
  if np.issubdtype(images.dtype, np.floating):
    images = images.astype(np.float32)
    if not (images.min() >= 0 and images.max() <= 1):  # false for NaN too
      raise UserError(
        "float images must be in [0, 1]; scale them, or use uint8."
      )
  elif images.dtype != np.uint8:
    raise UserError(f"images must be uint8 or float, got {images.dtype}.")
  if labels.dtype.kind in "US":
    labels = labels.astype(str)
    names = list(class_names or np.unique(labels))
    unknown = set(labels) - set(names)
    if unknown:
      raise UserError(f"label {str(min(unknown))!r} is not in class_names.")
    place = {name: i for i, name in enumerate(names)}
    labels = np.array([place[label] for label in labels])
  elif labels.dtype.kind in "iu":
    if labels.min() < 0:
      raise UserError(f"labels count from 0, got {labels.min()}.")
    names = list(class_names or map(str, range(int(labels.max()) + 1)))
    if labels.max() >= len(names):
      raise UserError(
        f"label {labels.max()} has no name among {len(names)} class_names."
      )
  else:
    raise UserError(f"labels must be integers or strings, got {labels.dtype}.")
  count = np.bincount(labels, minlength=len(names))
  if count.min() == 0:
    raise UserError(f"class {names[count.argmin()]!r} has no example.")
  return Dataset(
    source=Images(images),
    label=labels.astype(np.int32),
    key=content_keys(images),
    class_names=tuple(names),
    flags={},
  )


def load_npz(path: str | pathlib.Path) -> Dataset:
  """A .npz file of arrays `images` and `labels`, see `from_arrays`."""
  try:
    with np.load(path, allow_pickle=False) as file:
      return from_arrays(file["images"], file["labels"])
  except FileNotFoundError as error:
    raise UserError(f"{path}: no such file.") from error
  except KeyError as error:
    raise UserError(
      f"{path}: it must hold the arrays `images` and `labels`."
    ) from error
  except UserError as error:
    raise UserError(f"{path}: {error}") from error
  except (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    zipfile.BadZipFile,
  ) as error:
    raise UserError(
      f"{path}: not a whole .npz file of plain arrays ({error})."
    ) from error


def load_bitmap(path: str | pathlib.Path) -> np.ndarray:
  """A full_numpy_bitmap_<class>.npy: [N, 784] uint8, mapped, not read.

  Raises:
    UserError: truncated, pickled, empty, or of another type or shape.
  """
  try:
    rows = np.load(path, mmap_mode="r", allow_pickle=False)
  except (OSError, ValueError, EOFError) as error:
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
