"""A folder of images, with a folder for each class: DIR/<class>/<any>.png."""

import collections
import concurrent.futures
import os
import pathlib
import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from absl import logging

from alcurr.core import files, paths
from alcurr.core.errors import UserError
from alcurr.data import arrays, cache, parallel
from alcurr.data.groups import from_table
from alcurr.data.labels import require
from alcurr.data.pool import Dataset, choose_classes

# The formats, by Pillow's names, and the endings of their files. Others are
# never opened: Pillow gives EPS to Ghostscript.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
ENDINGS = (
  *(".png", ".jpg", ".jpeg", ".jpe", ".jfif"),
  *(".bmp", ".gif", ".webp", ".tif", ".tiff"),
)
# Pillow's modes without colour.
_GREY = ("1", "L", "LA")
# Names of splits, which are no classes if they hold folders.
_SPLIT = re.compile("train(ing)?|test(ing)?|val(id(ation)?)?|dev|eval", re.I)
_COPY = re.compile(r"(.+?)(?: - Copy| copy)?(?: ?\(\d+\))?", re.S)


def load(
  directory: str | pathlib.Path,
  *,
  image_size: int,
  classes: str | int | Collection[str] = "all",
  max_per_class: int = 0,
  on_error: str = "raise",
  background: str = "white",
  max_pixels: int = 50_000_000,
  groups: str = "",
) -> Dataset:
  """Reads images, cropped to the central square and scaled.

  A class has the images of its folder and of the folders in it. Hidden files
  and folders, and those of tools (`__MACOSX`, `@eaDir`), are not read.

  Memory: that of the result.

  Args:
    directory: the folder of classes, perhaps within a single other folder.
    image_size: pixels of a side.
    classes: see `alcurr.data.pool.choose_classes`; the folders' names.
    max_per_class: the first images of each class by file name; 0 for all.
    on_error: "raise" if an image cannot be read, or "skip" it.
    background: a colour such as "white" or "#202020", behind images that are
      transparent.
    max_pixels: limit of an image's width times its height.
    groups: a CSV of `key,group`; see `alcurr.data.groups`. A key is the path of
      an image in the folder of classes, such as cat/1.png.

  Returns:
    Images [N, image_size, image_size, C] uint8; C is 1 if no image has
    colours, else 3.

  Raises:
    UserError: no such folder, an unknown class, one without images, an image
      that cannot be read, or images that are all equal.
  """
  check_background(background, "background")
  directory = paths.absolute(directory, "directory")
  if not directory.is_dir():
    raise UserError("missing", directory, "no such folder")
  directory, known = _find_classes(directory)
  names = choose_classes(known, classes)
  _check_copies(directory, names)
  images_at, labels, others = [], [], collections.Counter()
  for label, name in enumerate(names):
    found = _find_images(directory / name, others)
    expected = f"{', '.join(ENDINGS)} files"
    require(bool(found), directory / name, expected, "none")
    images_at += found[: max_per_class or None]
    labels += [label] * (len(images_at) - len(labels))
  if others:
    text = ", ".join(f"{count} {kind}" for kind, count in others.items())
    logging.warning("%s: files not read: %s.", directory, text)

  def read_or_skip(path: pathlib.Path) -> np.ndarray | None:
    try:
      return _read(path, image_size, background, max_pixels)
    except UserError:
      if on_error == "skip":
        return None
      raise

  with concurrent.futures.ThreadPoolExecutor(parallel.cores()) as threads:
    read = list(threads.map(read_or_skip, images_at))
  good = [image is not None for image in read]
  if not all(good):
    logging.warning("Skipped %d images.", good.count(False))
  labels = np.array(labels)[good]
  images_at = [path for path, ok in zip(images_at, good, strict=True) if ok]
  for label in set(range(len(names))) - set(labels.tolist()):
    require(False, directory / names[label], "images", "all skipped")
  read = [image for image in read if image is not None]
  channels = max(image.shape[-1] for image in read)
  images = np.empty((len(read), image_size, image_size, channels), np.uint8)
  for row in images[::-1]:
    row[:] = read.pop()  # grey is repeated if other images have colours
  try:
    dataset = arrays.from_arrays(images, labels, names, value_range=(0, 255))
  except UserError as error:
    raise UserError(error.code, directory, str(error)) from error
  keys = np.array([p.relative_to(directory).as_posix() for p in images_at])
  dataset = dataset._replace(paths=keys, locate=lambda row: {"path": keys[row]})
  if not groups:
    return dataset
  return from_table(dataset, groups, dataset.paths, "their paths")


def check_background(background: str, place: str) -> None:
  """Refuses what is no colour."""
  from PIL import ImageColor

  try:
    ImageColor.getrgb(background)
  except (ValueError, AttributeError) as error:
    text = f"expected a colour such as white or #202020, got {background!r}"
    raise UserError("syntax", place, text) from error


def _find_classes(directory: pathlib.Path) -> tuple[pathlib.Path, list[str]]:
  """Returns the folder that holds those of the classes, and their names."""
  names = _folders(directory)
  require(bool(names), directory, "a folder for each class", "none")
  holders = [
    name
    for name in names
    if _folders(directory / name)
    and not any(map(_is_image, os.listdir(directory / name)))
  ]
  if len(names) == len(holders) == 1:
    return _find_classes(directory / names[0])
  splits = [name for name in holders if _SPLIT.fullmatch(name)]
  got = (
    f"{' and '.join(splits)}, with folders in it; give one as data.dir, and "
    "another perhaps as data.test_dir"
  )
  require(not splits, directory, "a folder for each class", got)
  return directory, names


def _check_copies(directory: pathlib.Path, names: Sequence[str]) -> None:
  """Refuses a class and a copy that a browser or file manager made of it."""
  for name in names:
    base = _COPY.fullmatch(name).group(1)
    got = f"{base!r} and {name!r}, which looks like its copy"
    require(base == name or base not in names, directory, "each once", got)


def _folders(folder: pathlib.Path) -> list[str]:
  """Returns the names of a folder's folders, sorted."""
  return sorted(
    path.name
    for path in folder.iterdir()
    if path.is_dir() and not files.is_left_by_tools(path.name)
  )


def _find_images(
  folder: pathlib.Path, others: collections.Counter
) -> list[pathlib.Path]:
  """Returns the images at any depth, sorted; counts `others` by ending."""
  found = []
  for root, folders, names in os.walk(folder):
    # A folder called x.png is an image that cannot be read.
    names += [name for name in folders if _is_image(name)]
    folders[:] = [
      name
      for name in folders
      if not files.is_left_by_tools(name) and not _is_image(name)
    ]
    for name in names:
      if _is_image(name):
        found.append(pathlib.Path(root, name))
      elif not files.is_left_by_tools(name):
        others[pathlib.Path(name).suffix or name] += 1
  return sorted(found)


def _is_image(name: str) -> bool:
  if files.is_left_by_tools(name):
    return False
  return name.lower().endswith(ENDINGS)


def _read(
  path: pathlib.Path, image_size: int, background: str, max_pixels: int
) -> np.ndarray:
  """Returns [H, W, 1 or 3] uint8; raises UserError if it cannot be read."""
  from PIL import Image, ImageOps

  try:
    # No format takes more than 8 bytes a pixel, besides its header.
    files.check_regular(path, 8 * max_pixels + 2**20)
    with Image.open(path, formats=FORMATS) as image:
      if image.width * image.height > max_pixels:
        got = f"{image.width} x {image.height}"
        raise ValueError(f"expected at most max_pixels={max_pixels}, got {got}")
      # Transposing forgets the format.
      upright = ImageOps.exif_transpose(image)
      upright = _flat(upright, background, image.format)
    square = ImageOps.fit(upright, (image_size, image_size))
    return np.asarray(square).reshape(image_size, image_size, -1)
  except (*cache.UNREADABLE, IndexError, Image.DecompressionBombError) as error:
    reason = error.text if isinstance(error, UserError) else error
    text = f"cannot be read ({reason}); remove it, or set data.on_error=skip"
    raise UserError("damaged", path, text) from error


def _flat(image: Any, background: str, kind: str) -> Any:
  """Returns a Pillow image of mode L or RGB; `kind` is its file's format."""
  from PIL import Image

  mode = "L" if image.mode in _GREY else "RGB"
  # Older versions of Pillow call 16 bits of PNG mode I.
  if image.mode.startswith("I;16") or (kind == "PNG" and image.mode == "I"):
    values = np.asarray(image).astype(np.int32)
    clear = image.info.get("transparency")
    mode, image = "L", Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if clear is not None:
      image.putalpha(Image.fromarray(np.uint8(255) * (values != clear)))
  elif image.mode in ("I", "F"):
    raise ValueError("32 bits a pixel, whose white is unknown; save 8 or 16")
  if not image.has_transparency_data:
    return image.convert(mode)
  image = image.convert("RGBA")
  flat = Image.new("RGBA", image.size, background)
  flat.alpha_composite(image)
  lows, highs = zip(*flat.getextrema(), strict=True)
  alpha = image.getchannel("A").getextrema()
  if lows == highs and alpha[0] < alpha[1]:
    raise ValueError(f"its ink is {background} too; set another background")
  return flat.convert(mode)
