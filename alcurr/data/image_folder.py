"""A folder of images, with a folder for each class: DIR/<class>/<any>.png."""

import pathlib
from collections.abc import Sequence
from concurrent import futures

import numpy as np
from absl import logging
from PIL import Image, ImageOps

from alcurr.core import cpu
from alcurr.core.errors import UserError
from alcurr.data import arrays
from alcurr.data.pool import Dataset, check_class_names
from alcurr.data.quickdraw.reader import choose_classes

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
# Modes of Pillow's without colour.
_GREY = ("1", "L", "LA", "I", "I;16", "F")
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def load(
  where: str | pathlib.Path,
  *,
  image_size: int,
  classes: str | int | Sequence[str] = "all",
  max_per_class: int = 0,
  on_error: str = "raise",
) -> Dataset:
  """The images of a folder's folders, cut to a square and scaled.

  Memory: that of the images as they are kept.

  Args:
    where: the folder. What stands in it besides folders is not looked at.
    image_size: pixels of a side. What is longer than wide, or wider, loses of
      its ends what is too much.
    classes: see `quickdraw.load`; names are those of the folders.
    max_per_class: the first so many by name; 0 for all.
    on_error: "raise" where an image cannot be read, or "skip" it.

  Returns:
    Images [N, image_size, image_size, C] uint8, of one channel where no image
    has colours, else of three.

  Raises:
    UserError: no such folder, an unknown class, one without images, or an
      image that cannot be read.
  """
  where = pathlib.Path(where)
  if not where.is_dir():
    raise UserError(f"data.dir={where} is no folder; name one of images.")
  known = sorted(path.name for path in where.iterdir() if path.is_dir())
  if not known:
    raise UserError(
      f"data.dir={where} has no folders; put the images of each class in one."
    )
  names = choose_classes(known, classes)
  check_class_names(names)
  paths, labels = [], []
  for label, name in enumerate(names):
    mine = sorted(
      path
      for path in (where / name).iterdir()
      if path.suffix.lower() in ENDINGS
    )[: max_per_class or None]
    if not mine:
      raise UserError(
        f"{where / name} has no {', '.join(ENDINGS)}; leave that class out."
      )
    paths += mine
    labels += [label] * len(mine)
  with futures.ThreadPoolExecutor(cpu.cores()) as threads:
    read = list(
      threads.map(lambda path: _read(path, image_size, on_error), paths)
    )
  good = [i for i, image in enumerate(read) if image is not None]
  if len(good) < len(read):
    logging.warning("Skipped %d images.", len(read) - len(good))
  coloured = any(read[i].shape[-1] == 3 for i in good)
  images = np.empty(
    (len(good), image_size, image_size, 3 if coloured else 1), np.uint8
  )
  for row, i in zip(images, good, strict=True):
    row[:] = read[i]  # grey in all three channels, where others have colours
    read[i] = None
  return arrays.from_arrays(images, np.array(labels)[good], names)


def _read(
  path: pathlib.Path, image_size: int, on_error: str
) -> np.ndarray | None:
  """[H, W, 1 or 3] uint8; None for what is skipped."""
  try:
    with Image.open(path) as image:
      mode = "L" if image.mode in _GREY else "RGB"
      upright = ImageOps.exif_transpose(image).convert(mode)
    square = ImageOps.fit(upright, (image_size, image_size))
    return np.asarray(square).reshape(image_size, image_size, -1)
  except _UNREADABLE as error:
    if on_error == "skip":
      return None
    raise UserError(
      f"{path} cannot be read ({error}); mend or remove it, or take "
      "data.on_error=skip."
    ) from error
