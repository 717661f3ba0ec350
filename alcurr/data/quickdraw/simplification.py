"""The *raw* layout of Quick, Draw!: strokes of x, y and time.

It is simplified as Google describes
(github.com/googlecreativelab/quickdraw-dataset, "Simplified Drawing files").
"""

from collections.abc import Sequence

import numpy as np
import shapely

from alcurr.data.quickdraw import strokes

_RDP_EPSILON = 2.0  # pixels of the 256 x 256 box
# Pixels that the pen goes in a stroke of a raw drawing, which is resampled with
# a point for each. The real ones that come with the tests go at most 1,700.
_LONGEST_WAY = 10**5


def is_raw(drawing: object) -> bool:
  """Whether a decoded `drawing` has times, as the raw layout does."""
  try:
    return len(drawing[0]) == 3
  except (TypeError, IndexError, KeyError):
    return False


def simplify(drawing: object) -> strokes.Drawing:
  """A decoded `drawing` of the raw layout, simplified as Google does.

  Aligned to the top-left corner, scaled to a largest coordinate of 255, each
  stroke resampled with 1 pixel spacing and simplified by Ramer, Douglas and
  Peucker with epsilon 2.

  What Google leaves out stays as a third column: the pen's speed v on the way
  to each point, as 255 v / (v + v'), where v' is that of the whole drawing. The
  first point of a stroke has that of its second, a dot has 0.

  Args:
    drawing: a list of strokes [[x...], [y...], [t...]] in screen pixels and
      milliseconds.

  Raises:
    BadDrawingError: not of that layout, or with a stroke that goes more than a
      hundred thousand pixels, which would take more memory than its few points.
  """
  values, lengths = strokes.flat(drawing)
  points = strokes.numbers(values).reshape(2, -1).T
  time = _times(drawing, lengths)
  with np.errstate(over="ignore", invalid="ignore"):
    points = points - points.min(0)
    largest = points.max()
    points = points * (strokes.LARGEST / largest if largest > 0 else 1.0)
  if not np.isfinite(points).all():
    raise strokes.BadDrawingError("a coordinate out of range")
  every = np.split(np.column_stack([points, time]), np.cumsum(lengths)[:-1])
  simple = [_simplify_stroke(stroke) for stroke in every]
  whole = np.concatenate(simple)
  packed = np.column_stack([whole[:, :2], _speeds(simple)])
  return strokes.Drawing(
    np.rint(packed).astype(np.uint8), [len(stroke) for stroke in simple]
  )


def _times(drawing: list, lengths: Sequence[int]) -> np.ndarray:
  """The times of all points [P], which never run back within a stroke."""
  times = []
  for stroke, length in zip(drawing, lengths, strict=True):
    if len(stroke) < 3 or not isinstance(stroke[2], list):
      raise strokes.BadDrawingError("a stroke without its times")
    if len(stroke[2]) != length:
      raise strokes.BadDrawingError("x and t of unequal length")
    times.append(np.maximum.accumulate(strokes.numbers(stroke[2])))
  return np.concatenate(times)


def _speeds(every: Sequence[np.ndarray]) -> np.ndarray:
  """The third column of `simplify` for strokes [n, 3] of (x, y, t)."""
  speeds = []
  with np.errstate(over="ignore", invalid="ignore"):
    steps = [np.diff(stroke, axis=0) for stroke in every]
    way = [np.hypot(step[:, 0], step[:, 1]) for step in steps]
    took = [step[:, 2] for step in steps]
    all_way, all_took = (np.concatenate(part).sum() for part in (way, took))
    for length, time in zip(way, took, strict=True):
      # v / (v + v'), above and below times both of their times.
      above = length * all_took
      below = above + time * all_way
      share = np.divide(above, below, out=0 * below, where=below > 0)
      speeds += [share[:1] if len(share) else np.zeros(1), share]
  return 255 * np.nan_to_num(np.concatenate(speeds))


def _simplify_stroke(stroke: np.ndarray) -> np.ndarray:
  """[n, 3] float64, (x, y, t), in the box to [m, 3]."""
  step = np.hypot(*np.diff(stroke[:, :2], axis=0).T)
  along = np.concatenate([[0.0], np.cumsum(step)])
  if along[-1] == 0:  # a dot, however long the pen rested
    return stroke[:1]
  if along[-1] > _LONGEST_WAY:
    raise strokes.BadDrawingError(
      f"a stroke of more than {_LONGEST_WAY} pixels"
    )
  # The last point stays, wherever the last whole pixel falls.
  place = np.append(np.arange(0, along[-1], 1.0), along[-1])
  resampled = np.stack(
    [np.interp(place, along, stroke[:, axis]) for axis in range(3)], axis=1
  )
  line = shapely.simplify(
    shapely.linestrings(resampled), _RDP_EPSILON, preserve_topology=False
  )
  # Distances are those in the plane; the third coordinate goes with its point.
  kept = shapely.get_coordinates(line, include_z=True)
  if not len(kept):  # a line that shrank to nothing within epsilon
    kept = resampled[[0, -1]]
  return kept
