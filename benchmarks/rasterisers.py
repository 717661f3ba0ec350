"""Renders drawings on the CPU with popular libraries, one function for each.

Each function takes the strokes of a drawing ([n, 2] uint8 each) and the size in
pixels. It returns an image [size, size] uint8 with the drawing in the middle,
where `alcurr.data.render` places it.
"""

import importlib.util
import multiprocessing
from collections.abc import Sequence

import numpy as np

from alcurr.data import parallel
from alcurr.data.strokes import unpack
from alcurr.types import Strokes

# In the 256-wide box, as in alcurr.data.render.
PEN, BORDER = 16, 24


def _corners(drawing: Sequence[np.ndarray], size: int) -> list[np.ndarray]:
  """Returns strokes in pixels; integers are edges of pixels, not centers."""
  scale = size / (256 + 2 * BORDER)
  extent = np.max([stroke.max(0) for stroke in drawing], axis=0)
  offset = BORDER + (256 - extent.astype(np.float32)) / 2
  return [scale * (stroke + offset) for stroke in drawing]


def opencv(drawing: Sequence[np.ndarray], size: int) -> np.ndarray:
  """Renders with anti-aliasing at 256 pixels, then averages."""
  import cv2

  cv2.setNumThreads(1)
  large = np.zeros((256, 256), np.uint8)
  shift = 4  # fractional bits of a coordinate
  lines = [
    np.rint((corners - 0.5) * 2**shift).astype(np.int32)
    for corners in _corners(drawing, 256)
  ]
  width = round(PEN * 256 / (256 + 2 * BORDER))
  cv2.polylines(large, lines, False, 255, width, cv2.LINE_AA, shift)
  return cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA)


def pillow(drawing: Sequence[np.ndarray], size: int) -> np.ndarray:
  """Renders at 256 pixels, then averages."""
  from PIL import Image, ImageDraw

  large = Image.new("L", (256, 256))
  draw = ImageDraw.Draw(large)
  width = round(PEN * 256 / (256 + 2 * BORDER))
  for corners in _corners(drawing, 256):
    draw.line(corners.ravel().tolist(), 255, width, joint="curve")
  return np.asarray(large.resize((size, size), Image.Resampling.BOX))


def aggdraw(drawing: Sequence[np.ndarray], size: int) -> np.ndarray:
  """Renders with anti-aliasing at the final size."""
  import aggdraw as agg
  from PIL import Image

  image = Image.new("L", (size, size))
  draw = agg.Draw(image)
  pen = agg.Pen("white", PEN * size / (256 + 2 * BORDER))
  for corners in _corners(drawing, size):
    draw.line(corners.ravel().tolist(), pen)
  draw.flush()
  return np.asarray(image)


# The function by name, and the module that it needs.
RASTERISERS = {
  "OpenCV": (opencv, "cv2"),
  "Pillow": (pillow, "PIL"),
  "aggdraw": (aggdraw, "aggdraw"),
}


def installed(name: str) -> bool:
  """Returns whether the library is installed."""
  return importlib.util.find_spec(RASTERISERS[name][1]) is not None


_strokes: Strokes | None = None  # in the processes of a pool


def _start(strokes: Strokes) -> None:
  global _strokes
  _strokes = strokes


def _some(name: str, index: np.ndarray, size: int) -> np.ndarray:
  function = RASTERISERS[name][0]
  return np.stack([function(unpack(_strokes, i), size) for i in index])


class Processes:
  """A pool with a process for each core, which already has the strokes."""

  def __init__(self, strokes: Strokes):
    self.cores = parallel.cores()
    context = multiprocessing.get_context("spawn")
    self._pool = context.Pool(self.cores, _start, (strokes,))

  def render(self, name: str, index: np.ndarray, size: int) -> np.ndarray:
    """Returns the drawings at `index` [B]: [B, size, size] uint8."""
    shares = np.array_split(index, self.cores)
    jobs = [(name, share, size) for share in shares if len(share)]
    return np.concatenate(self._pool.starmap(_some, jobs))

  def stop(self) -> None:
    self._pool.terminate()
