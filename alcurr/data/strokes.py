"""Packed strokes: ragged drawings in three flat arrays, on the host.

See `alcurr.types.Strokes`. The two published layouts of Quick, Draw! are
parsed into it: *simplified* as it is, *raw* simplified as Google describes
(github.com/googlecreativelab/quickdraw-dataset, "Simplified Drawing files").
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import shapely

from alcurr.errors import UserError
from alcurr.types import Strokes

_RDP_EPSILON = 2.0  # pixels of the 256 x 256 box
_LARGEST = 255.0
_OUT_OF_RANGE = "a coordinate out of range (0 to 255, whole)"
# Pixels that the pen goes in a stroke of a raw drawing, which is resampled with
# a point for each. The real ones that come with the tests go at most 1,700.
_LONGEST_WAY = 10**5
_TAKEN_AT_ONCE = 10**5


class Drawing(NamedTuple):
  points: np.ndarray  # [P, 2] uint8, (x, y), or [P, 3], with the pen's speed
  lengths: list[int]  # points of each stroke, none zero


class BadDrawingError(ValueError):
  """A drawing that cannot be used; `reason` is one of a few, for counting."""

  def __init__(self, reason: str):
    super().__init__(reason)
    self.reason = reason


def pack(drawings: Iterable[Drawing]) -> Strokes:
  """N drawings as packed strokes of NumPy arrays.

  The pen's speed stays if all of them have it.
  """
  drawings = list(drawings)
  return from_lengths(
    _join_points([drawing.points for drawing in drawings]),
    np.fromiter(
      itertools.chain.from_iterable(d.lengths for d in drawings), np.int64
    ),
    np.fromiter((len(d.lengths) for d in drawings), np.int64, len(drawings)),
  )


def _join_points(parts: Sequence[np.ndarray]) -> np.ndarray:
  """Points one after the other, with the columns that all have."""
  columns = min((part.shape[1] for part in parts), default=2)
  none = np.zeros((0, columns), np.uint8)
  return np.concatenate([none, *(part[:, :columns] for part in parts)])


def from_lengths(
  points: np.ndarray, stroke_length: np.ndarray, drawing_length: np.ndarray
) -> Strokes:
  """Packed strokes from the lengths of the parts.

  Args:
    points: [P, 2] or [P, 3] uint8.
    stroke_length: [M] int, points of each stroke.
    drawing_length: [N] int, strokes of each drawing.

  Raises:
    UserError: more points or strokes than 32-bit offsets can reach.
  """
  check_count("points", len(points))
  check_count("strokes", len(stroke_length))
  return Strokes(
    points,
    _offsets(stroke_length, np.uint32),
    _offsets(drawing_length, np.int32),
  )


def check_count(what: str, count: int) -> None:
  """Refuses more "points" or "strokes" than their 32-bit offsets reach."""
  # All of Quick, Draw! is about 2.16e9 points, just beyond 2^31.
  if count >= {"points": 2**32, "strokes": 2**31}[what]:
    raise UserError(
      f"{count} {what} are more than 32-bit offsets reach; take fewer "
      "classes or set data.max_per_class."
    )


def _offsets(length: np.ndarray, dtype: np.typing.DTypeLike) -> np.ndarray:
  offsets = np.zeros(len(length) + 1, dtype)
  np.cumsum(length, dtype=dtype, out=offsets[1:])
  return offsets


def lengths(offsets: np.ndarray) -> np.ndarray:
  """What lies between offsets [n + 1]: [n] int64."""
  return np.diff(offsets).astype(np.int64)


def unpack(strokes: Strokes, index: int) -> list[np.ndarray]:
  """The strokes of one drawing, each [n, 2] uint8."""
  first, last = strokes.drawing_start[index : index + 2]
  start = strokes.stroke_start[first : last + 1]
  return [strokes.points[a:b] for a, b in itertools.pairwise(start)]


def concatenate(parts: Sequence[Strokes]) -> Strokes:
  """The drawings of all parts, in order; their speeds if all have them."""
  return from_lengths(
    _join_points([part.points for part in parts]),
    np.concatenate([lengths(part.stroke_start) for part in parts]),
    np.concatenate([lengths(part.drawing_start) for part in parts]),
  )


def _ranges(start: np.ndarray, length: np.ndarray) -> np.ndarray:
  """The ranges [start, start + length) one after the other, flat."""
  end = np.cumsum(length)
  total = int(end[-1]) if len(end) else 0
  first = start.astype(np.int64) - (end - length)
  return np.arange(total) + np.repeat(first, length)


def take_strokes(strokes: Strokes, index: np.ndarray) -> Strokes:
  """The drawings at `index` [n], in that order.

  Memory: what is taken, 12 bytes a stroke and 16 a drawing more, and, a hundred
  thousand drawings at a time, 16 bytes a point.
  """
  index = np.asarray(index)
  parts = [
    _take(strokes, index[start : start + _TAKEN_AT_ONCE])
    for start in range(0, max(len(index), 1), _TAKEN_AT_ONCE)
  ]
  return parts[0] if len(parts) == 1 else concatenate(parts)


def _take(strokes: Strokes, index: np.ndarray) -> Strokes:
  first = strokes.drawing_start[index]
  drawing_length = strokes.drawing_start[index + 1].astype(np.int64) - first
  stroke = _ranges(first, drawing_length)
  start = strokes.stroke_start[stroke]
  stroke_length = strokes.stroke_start[stroke + 1].astype(np.int64) - start
  points = strokes.points[_ranges(start, stroke_length)]
  return from_lengths(points, stroke_length, drawing_length)


def is_raw(drawing: object) -> bool:
  """Whether a decoded `drawing` has times, as the raw layout does."""
  try:
    return len(drawing[0]) == 3
  except (TypeError, IndexError, KeyError):
    return False


def _flat(drawing: object) -> tuple[list, list[int]]:
  """The values of all x and then of all y, and the points of each stroke."""
  if not isinstance(drawing, list) or not drawing:
    raise BadDrawingError("no strokes")
  x, y, lengths = [], [], []
  for stroke in drawing:
    if not (
      isinstance(stroke, list)
      and len(stroke) >= 2
      and isinstance(stroke[0], list)
      and isinstance(stroke[1], list)
    ):
      raise BadDrawingError("a stroke is not lists of x and y")
    if len(stroke[0]) != len(stroke[1]):
      raise BadDrawingError("x and y of unequal length")
    if not stroke[0]:
      raise BadDrawingError("a stroke without points")
    x += stroke[0]
    y += stroke[1]
    lengths.append(len(stroke[0]))
  return x + y, lengths


def _numbers(values: list) -> np.ndarray:
  """Coordinates or times: [n] float64."""
  # Python's true and "7" would pass for numbers in NumPy.
  if not {*map(type, values)} <= {int, float}:
    raise BadDrawingError("a coordinate is not a number")
  try:
    numbers = np.array(values, np.float64)
  except OverflowError as error:
    raise BadDrawingError("a coordinate out of range") from error
  if not np.isfinite(numbers).all():
    raise BadDrawingError("a coordinate is not finite")
  return numbers


def parse_simplified(drawing: object) -> Drawing:
  """A decoded `drawing` of the simplified layout.

  Args:
    drawing: a list of strokes [[x...], [y...]], integers in [0, 255].

  Raises:
    BadDrawingError: anything else.
  """
  values, lengths = _flat(drawing)
  # Nearly all are plain integers, and bytes() is the fastest to take them.
  if {*map(type, values)} == {int}:
    try:
      packed = np.frombuffer(bytes(values), np.uint8).reshape(2, -1).T
    except ValueError as error:
      raise BadDrawingError(_OUT_OF_RANGE) from error
    return Drawing(packed, lengths)
  points = _numbers(values).reshape(2, -1).T
  packed = points.astype(np.uint8, casting="unsafe")
  if points.min() < 0 or points.max() > _LARGEST or (packed != points).any():
    raise BadDrawingError(_OUT_OF_RANGE)
  return Drawing(packed, lengths)


def simplify(drawing: object) -> Drawing:
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
  values, lengths = _flat(drawing)
  points = _numbers(values).reshape(2, -1).T
  time = _times(drawing, lengths)
  with np.errstate(over="ignore", invalid="ignore"):
    points = points - points.min(0)
    largest = points.max()
    points = points * (_LARGEST / largest if largest > 0 else 1.0)
  if not np.isfinite(points).all():
    raise BadDrawingError("a coordinate out of range")
  strokes = np.split(np.column_stack([points, time]), np.cumsum(lengths)[:-1])
  simple = [_simplify_stroke(stroke) for stroke in strokes]
  flat = np.concatenate(simple)
  packed = np.column_stack([flat[:, :2], _speeds(simple)])
  return Drawing(
    np.rint(packed).astype(np.uint8), [len(stroke) for stroke in simple]
  )


def _times(drawing: list, lengths: Sequence[int]) -> np.ndarray:
  """The times of all points [P], which never run back within a stroke."""
  times = []
  for stroke, length in zip(drawing, lengths, strict=True):
    if len(stroke) < 3 or not isinstance(stroke[2], list):
      raise BadDrawingError("a stroke without its times")
    if len(stroke[2]) != length:
      raise BadDrawingError("x and t of unequal length")
    times.append(np.maximum.accumulate(_numbers(stroke[2])))
  return np.concatenate(times)


def _speeds(strokes: Sequence[np.ndarray]) -> np.ndarray:
  """The third column of `simplify` for strokes [n, 3] of (x, y, t)."""
  speeds = []
  with np.errstate(over="ignore", invalid="ignore"):
    steps = [np.diff(stroke, axis=0) for stroke in strokes]
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
    raise BadDrawingError(f"a stroke of more than {_LONGEST_WAY} pixels")
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
