"""Generates packed strokes of any number of drawings, as long as real ones.

The cost of a renderer or a store depends on the lengths of drawings, not on
what they show. Lengths follow the quantiles of Google's simplified drawings;
points are noise.
"""

import numpy as np

from alcurr.data.strokes import from_lengths
from alcurr.types import Strokes

# From 117,393 simplified drawings of all 345 classes; means 42.7 and 5.0.
_SHARE = (
  *(0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
  *(0.95, 0.98, 0.99, 0.995, 0.999, 1),
)
_POINTS = (
  *(2, 19, 24, 29, 33, 38, 43, 49, 58, 71, 85, 107, 127, 151, 228, 723),
)
_STROKES = (1, 1, 2, 3, 3, 4, 5, 6, 7, 10, 12, 15, 18, 21, 30, 185)


def _draw(
  rng: np.random.Generator, quantiles: tuple[int, ...], size: int
) -> np.ndarray:
  uniform = rng.random(size, np.float32)
  return np.rint(np.interp(uniform, _SHARE, quantiles)).astype(np.int32)


def make_strokes(num_drawings: int, seed: int = 0) -> Strokes:
  """Returns drawings as NumPy arrays; the strokes of each are equally long."""
  rng = np.random.default_rng(seed)
  points = _draw(rng, _POINTS, num_drawings)
  strokes = np.minimum(_draw(rng, _STROKES, num_drawings), points)
  length, extra = np.divmod(points, strokes)
  stroke_length = np.repeat(length, strokes)
  # The first `extra` strokes of a drawing have one more point.
  first = np.cumsum(strokes) - strokes
  longer = np.repeat(first, extra)
  within = np.arange(len(longer)) - np.repeat(np.cumsum(extra) - extra, extra)
  stroke_length[longer + within] += 1
  total = int(points.sum(dtype=np.int64))
  noise = np.frombuffer(rng.bytes(2 * total), np.uint8).reshape(total, 2)
  return from_lengths(noise, stroke_length, strokes)
