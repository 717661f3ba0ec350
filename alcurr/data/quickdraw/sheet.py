"""A picture of some drawings of every class."""

import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from alcurr.core import files
from alcurr.data.quickdraw.strokes import concatenate, lengths
from alcurr.data.render import make_render, render_all
from alcurr.report.drawings import montage
from alcurr.types import Images, Strokes

_IN_A_COLUMN = 40  # classes
_NAME = 150  # pixels for a name
_ROW = 30  # pixels: a bitmap of 28 and its rim


def write(path: pathlib.Path, some: Mapping[str, Strokes | Images]) -> None:
  """Writes a .png with a row of drawings for each class, by its name.

  Args:
    path: of the picture.
    some: a few drawings of each class, of one kind; bitmaps are 28 x 28.
  """
  images = _images(list(some.values()))
  most = max(map(len, images))
  rows = min(len(images), _IN_A_COLUMN)
  columns = -(-len(images) // rows)
  width = _NAME + most * _ROW
  canvas = np.full((rows * _ROW, columns * width, 3), 255, np.uint8)
  # Pixels of the page as they are, times two: names want to be read.
  figure = Figure((columns * width / 50, rows * _ROW / 50), dpi=100)
  axes = figure.add_axes((0, 0, 1, 1))
  axes.set_axis_off()
  for i, (name, image) in enumerate(zip(some, images, strict=True)):
    column, row = divmod(i, rows)
    top, left = row * _ROW, column * width + _NAME
    strip = montage(image, len(image))
    canvas[top : top + _ROW, left : left + strip.shape[1]] = strip
    axes.text(
      *(left - 4, top + _ROW / 2, name),
      ha="right",
      va="center",
      fontsize=8,
      parse_math=False,
    )
  axes.imshow(canvas, interpolation="nearest", aspect="auto")
  files.write_file(path, lambda file: figure.savefig(file, format="png"))


def _images(some: list[Strokes | Images]) -> list[np.ndarray]:
  """[n, 28, 28, 1] uint8 of each class."""
  if isinstance(some[0], Images):
    return [part.image for part in some]
  image = render_all(concatenate(some), make_render(size=28))
  count = [len(lengths(part.drawing_start)) for part in some]
  return np.split(image, np.cumsum(count)[:-1])
