"""Simplifies raw drawings, whose strokes have x, y and time, as Google did.

The rules are those of "Simplified Drawing files" in
github.com/googlecreativelab/quickdraw-dataset.
"""

from collections.abc import Sequence

import numpy as np

from alcurr.core.extras import import_extra
from alcurr.data import strokes

_RDP_EPSILON = 2.0  # pixels of the 256 x 256 box
# Longest raw stroke in pixels; resampling makes a point of each. The real
# strokes in the tests are at most 1,700 long.
_LONGEST_WAY = 10**5


def simplify(drawing: object) -> strokes.Drawing:
  """Simplifies a decoded `drawing` of the raw layout.

  The result is aligned to the top-left corner, with a largest coordinate of
  255. Each stroke is resampled with 1 pixel spacing and simplified by Ramer,
  Douglas and Peucker with epsilon 2.

  The third column is the pen's speed v on the way to each point, as
  255 v / (v + v') with the speed v' of the whole drawing, which Google drops.
  The first point of a stroke has the value of the second; a dot has 0.

  Args:
    drawing: a list of strokes [[x...], [y...], [t...]] in screen pixels and
      milliseconds.

  Raises:
    BadDrawingError: another layout, or a stroke of over 100,000 pixels.
  """
  values, lengths = strokes.flatten(drawing)
  points = strokes.to_floats(values).reshape(2, -1).T
  time = _times(drawing, lengths)
  with np.errstate(over="ignore", invalid="ignore"):
    points = points - points.min(0)
    largest = points.max()
    points = points * (strokes.LARGEST / largest if largest > 0 else 1.0)
  if not np.isfinite(points).all():
    raise strokes.BadDrawingError("a coordinate out of range")
  parts = np.split(np.column_stack([points, time]), np.cumsum(lengths)[:-1])
  simple = [_simplify_stroke(stroke) for stroke in parts]
  packed = np.column_stack([np.concatenate(simple)[:, :2], _speeds(simple)])
  packed = np.rint(packed).astype(np.uint8)
  return strokes.Drawing(packed, [len(stroke) for stroke in simple])


def _times(drawing: list, lengths: Sequence[int]) -> np.ndarray:
  """Returns the times of all points [P], rising within each stroke."""
  times = []
  for stroke, length in zip(drawing, lengths, strict=True):
    if len(stroke) < 3 or not isinstance(stroke[2], list):
      raise strokes.BadDrawingError("a stroke without its times")
    if len(stroke[2]) != length:
      raise strokes.BadDrawingError("x and t of unequal length")
    times.append(np.maximum.accumulate(strokes.to_floats(stroke[2])))
  return np.concatenate(times)


def _speeds(parts: Sequence[np.ndarray]) -> np.ndarray:
  """Returns the third column of `simplify` for strokes [n, 3] of (x, y, t)."""
  speeds = []
  with np.errstate(over="ignore", invalid="ignore"):
    steps = [np.diff(stroke, axis=0).T for stroke in parts]
    x, y, t = np.concatenate(steps, axis=1)
    total_way, total_time = np.hypot(x, y).sum(), t.sum()
    for x, y, time in steps:
      way = np.hypot(x, y)
      # v / (v + v'), expanded by both times.
      above = way * total_time
      below = above + time * total_way
      share = np.divide(above, below, out=0 * below, where=below > 0)
      speeds += [share[:1] if len(share) else np.zeros(1), share]
  return 255 * np.nan_to_num(np.concatenate(speeds))


def _simplify_stroke(stroke: np.ndarray) -> np.ndarray:
  """Simplifies [n, 3] float64, (x, y, t), in the box, to [m, 3]."""
  shapely = import_extra("shapely", "drawings", "raw drawings")
  step = np.hypot(*np.diff(stroke[:, :2], axis=0).T)
  along = np.concatenate([[0.0], np.cumsum(step)])
  if along[-1] == 0:  # a dot
    return stroke[:1]
  if along[-1] > _LONGEST_WAY:
    text = f"a stroke of more than {_LONGEST_WAY} pixels"
    raise strokes.BadDrawingError(text)
  # The last point stays, wherever the last whole pixel falls.
  place = np.append(np.arange(0, along[-1], 1.0), along[-1])
  columns = [np.interp(place, along, column) for column in stroke.T]
  resampled = np.stack(columns, axis=1)
  line = shapely.linestrings(resampled)
  line = shapely.simplify(line, _RDP_EPSILON, preserve_topology=False)
  # Distances are in the plane; the third coordinate stays with its point.
  points = shapely.get_coordinates(line, include_z=True)
  if not len(points):  # a line that shrank to nothing within epsilon
    points = resampled[[0, -1]]
  return points
