"""Packed strokes: ragged drawings in three flat arrays, on the host.

See `alcurr.types.Strokes`. The *simplified* layout of Quick, Draw! is parsed
into it as it is; what `raw` makes of the other one comes to the same.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from alcurr.core.errors import UserError
from alcurr.types import Strokes

LARGEST = 255.0
_OUT_OF_RANGE = "a coordinate out of range (0 to 255, whole)"
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


def flat(drawing: object) -> tuple[list, list[int]]:
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


def numbers(values: list) -> np.ndarray:
  """Coordinates or times: [n] float64."""
  # Python's true and "7" would pass for numbers in NumPy.
  if not {*map(type, values)} <= {int, float}:
    raise BadDrawingError("a coordinate is not a number")
  try:
    found = np.array(values, np.float64)
  except OverflowError as error:
    raise BadDrawingError("a coordinate out of range") from error
  if not np.isfinite(found).all():
    raise BadDrawingError("a coordinate is not finite")
  return found


def parse_simplified(drawing: object) -> Drawing:
  """A decoded `drawing` of the simplified layout.

  Args:
    drawing: a list of strokes [[x...], [y...]], integers in [0, 255].

  Raises:
    BadDrawingError: anything else.
  """
  values, lengths = flat(drawing)
  # Nearly all are plain integers, and bytes() is the fastest to take them.
  if {*map(type, values)} == {int}:
    try:
      packed = np.frombuffer(bytes(values), np.uint8).reshape(2, -1).T
    except ValueError as error:
      raise BadDrawingError(_OUT_OF_RANGE) from error
    return Drawing(packed, lengths)
  points = numbers(values).reshape(2, -1).T
  packed = points.astype(np.uint8, casting="unsafe")
  if points.min() < 0 or points.max() > LARGEST or (packed != points).any():
    raise BadDrawingError(_OUT_OF_RANGE)
  return Drawing(packed, lengths)
