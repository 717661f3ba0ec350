"""A folder of images, with a folder for each class: DIR/<class>/<any>.png."""

import concurrent.futures
import pathlib
from collections.abc import Sequence

import numpy as np
from absl import logging

from alcurr.core.errors import UserError
from alcurr.data import arrays, parallel
from alcurr.data.pool import Dataset, choose_classes

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
# Pillow's modes without colour.
_GREY = ("1", "L", "LA", "I", "I;16", "F")


def load(
  directory: str | pathlib.Path,
  *,
  image_size: int,
  classes: str | int | Sequence[str] = "all",
  max_per_class: int = 0,
  on_error: str = "raise",
) -> Dataset:
  """Reads images, cropped to the central square and scaled.

  Memory: that of the result.

  Args:
    directory: the folder; only its subfolders are read.
    image_size: pixels of a side.
    classes: see `alcurr.data.pool.choose_classes`; the folders' names.
    max_per_class: the first images of each class by file name; 0 for all.
    on_error: "raise" if an image cannot be read, or "skip" it.

  Returns:
    Images [N, image_size, image_size, C] uint8; C is 1 if no image has
    colours, else 3.

  Raises:
    UserError: no such folder, an unknown class, one without images, or an
      image that cannot be read.
  """
  directory = pathlib.Path(directory)
  if not directory.is_dir():
    raise UserError("missing", directory, "no such folder")
  known = sorted(path.name for path in directory.iterdir() if path.is_dir())
  if not known:
    raise UserError("data", directory, "expected a folder for each class")
  names = choose_classes(known, classes)
  paths, labels = [], []
  for label, name in enumerate(names):
    files = sorted((directory / name).iterdir())
    files = [path for path in files if path.suffix.lower() in ENDINGS]
    if not files:
      raise UserError("data", directory / name, f"has no {', '.join(ENDINGS)}")
    paths += files[: max_per_class or None]
    labels += [label] * (len(paths) - len(labels))
  with concurrent.futures.ThreadPoolExecutor(parallel.cores()) as threads:
    read = list(threads.map(lambda p: _read(p, image_size, on_error), paths))
  good = [image is not None for image in read]
  if not all(good):
    logging.warning("Skipped %d images.", good.count(False))
  read = [image for image in read if image is not None]
  channels = max((image.shape[-1] for image in read), default=1)
  images = np.empty((len(read), image_size, image_size, channels), np.uint8)
  for row in images[::-1]:
    row[:] = read.pop()  # grey is repeated if other images have colours
  return arrays.from_arrays(images, np.array(labels)[good], names)


def _read(
  path: pathlib.Path, image_size: int, on_error: str
) -> np.ndarray | None:
  """Returns [H, W, 1 or 3] uint8, or None for a skipped image."""
  from PIL import Image, ImageOps

  try:
    with Image.open(path) as image:
      mode = "L" if image.mode in _GREY else "RGB"
      upright = ImageOps.exif_transpose(image).convert(mode)
    square = ImageOps.fit(upright, (image_size, image_size))
    return np.asarray(square).reshape(image_size, image_size, -1)
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
    if on_error == "skip":
      return None
    text = f"cannot be read ({e}); remove it, or set data.on_error=skip"
    raise UserError("damaged", path, text) from e
