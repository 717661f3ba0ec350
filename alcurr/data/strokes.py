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


class Drawing(NamedTuple):
  points: np.ndarray  # [P, 2] uint8, (x, y)
  lengths: list[int]  # points of each stroke, none zero


class BadDrawingError(ValueError):
  """A drawing that cannot be used; `reason` is one of a few, for counting."""

  def __init__(self, reason: str):
    super().__init__(reason)
    self.reason = reason


def pack(drawings: Iterable[Drawing]) -> Strokes:
  """N drawings as packed strokes of NumPy arrays."""
  drawings = list(drawings)
  points = [drawing.points for drawing in drawings]
  return from_lengths(
    np.concatenate(points) if points else np.zeros((0, 2), np.uint8),
    np.fromiter(
      itertools.chain.from_iterable(d.lengths for d in drawings), np.int64
    ),
    np.fromiter((len(d.lengths) for d in drawings), np.int64, len(drawings)),
  )


def from_lengths(
  points: np.ndarray, stroke_length: np.ndarray, drawing_length: np.ndarray
) -> Strokes:
  """Packed strokes from the lengths of the parts.

  Args:
    points: [P, 2] uint8.
    stroke_length: [M] int, points of each stroke.
    drawing_length: [N] int, strokes of each drawing.

  Raises:
    UserError: more points or strokes than 32-bit offsets can reach.
  """
  # All of Quick, Draw! is about 2.16e9 points, just beyond 2^31.
  for what, count, most in (
    ("points", len(points), 2**32),
    ("strokes", len(stroke_length), 2**31),
  ):
    if count >= most:
      raise UserError(
        f"{count} {what} are more than 32-bit offsets reach; take fewer "
        "classes or set data.max_per_class."
      )
  return Strokes(
    points,
    _offsets(stroke_length, np.uint32),
    _offsets(drawing_length, np.int32),
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
  """The drawings of all parts, in order."""
  return from_lengths(
    np.concatenate([part.points for part in parts]),
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
  """The drawings at `index` [n], in that order."""
  index = np.asarray(index)
  stroke_length = lengths(strokes.stroke_start)
  drawing_length = lengths(strokes.drawing_start)[index]
  stroke = _ranges(strokes.drawing_start[index], drawing_length)
  point = _ranges(strokes.stroke_start[stroke], stroke_length[stroke])
  return from_lengths(
    strokes.points[point], stroke_length[stroke], drawing_length
  )


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
  """What `_flat` gave as coordinates: [P, 2] float64."""
  # Python's true and "7" would pass for numbers in NumPy.
  if not {*map(type, values)} <= {int, float}:
    raise BadDrawingError("a coordinate is not a number")
  try:
    points = np.array(values, np.float64).reshape(2, -1).T
  except OverflowError as error:
    raise BadDrawingError("a coordinate out of range") from error
  if not np.isfinite(points).all():
    raise BadDrawingError("a coordinate is not finite")
  return points


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
  points = _numbers(values)
  packed = points.astype(np.uint8, casting="unsafe")
  if points.min() < 0 or points.max() > _LARGEST or (packed != points).any():
    raise BadDrawingError(_OUT_OF_RANGE)
  return Drawing(packed, lengths)


def simplify(drawing: object) -> Drawing:
  """A decoded `drawing` of the raw layout, simplified as Google does.

  Aligned to the top-left corner, scaled to a largest coordinate of 255, each
  stroke resampled with 1 pixel spacing and simplified by Ramer, Douglas and
  Peucker with epsilon 2.

  Args:
    drawing: a list of strokes [[x...], [y...], [t...]] in screen pixels.

  Raises:
    BadDrawingError: not of that layout, or with a stroke that goes more than a
      hundred thousand pixels, which would take more memory than its few points.
  """
  values, lengths = _flat(drawing)
  points = _numbers(values)
  with np.errstate(over="ignore", invalid="ignore"):
    points = points - points.min(0)
    largest = points.max()
    points = points * (_LARGEST / largest if largest > 0 else 1.0)
  if not np.isfinite(points).all():
    raise BadDrawingError("a coordinate out of range")
  strokes = np.split(points, np.cumsum(lengths)[:-1])
  simple = [_simplify_stroke(stroke) for stroke in strokes]
  return Drawing(np.concatenate(simple), [len(stroke) for stroke in simple])


def _simplify_stroke(stroke: np.ndarray) -> np.ndarray:
  """[n, 2] float64 in the box to [m, 2] uint8."""
  step = np.hypot(*np.diff(stroke, axis=0).T)
  along = np.concatenate([[0.0], np.cumsum(step)])
  if along[-1] == 0:  # a dot, however long the pen rested
    return np.rint(stroke[:1]).astype(np.uint8)
  if along[-1] > _LONGEST_WAY:
    raise BadDrawingError(f"a stroke of more than {_LONGEST_WAY} pixels")
  # The last point stays, wherever the last whole pixel falls.
  place = np.append(np.arange(0, along[-1], 1.0), along[-1])
  resampled = np.stack(
    [np.interp(place, along, stroke[:, axis]) for axis in (0, 1)], axis=1
  )
  line = shapely.simplify(
    shapely.linestrings(resampled), _RDP_EPSILON, preserve_topology=False
  )
  kept = shapely.get_coordinates(line)
  if not len(kept):  # a line that shrank to nothing within epsilon
    kept = resampled[[0, -1]]
  return np.rint(kept).astype(np.uint8)
