"""Packed strokes: ragged drawings in three flat arrays, on the host.

See `alcurr.types.Strokes`. Drawings in the *simplified* layout of Quick, Draw!
are stored unchanged; `simplification` brings raw drawings into that layout.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from alcurr.core.errors import UserError
from alcurr.types import Strokes

LARGEST = 255.0
_OUT_OF_RANGE = "a coordinate out of range (0 to 255, whole)"
_PACK_BLOCK = 4096  # drawings that are packed at once
_TAKE_BLOCK = 10**5  # drawings that are taken at once


class Drawing(NamedTuple):
  """One drawing."""

  points: np.ndarray  # [P, 2] uint8, (x, y), or [P, 3], with the pen's speed
  lengths: list[int]  # points of each stroke, none zero


class BadDrawingError(ValueError):
  """A drawing that cannot be used; there are few `reason`s, to be counted."""

  def __init__(self, reason: str):
    super().__init__(reason)
    self.reason = reason


class WrongFileError(BadDrawingError):
  """A drawing that shows that its whole file is not what it was read as.

  It is not skipped, because the others are as wrong.
  """


def pack(drawings: Iterable[Drawing]) -> Strokes:
  """Packs N drawings, with the pen's speed if all of them have it.

  Memory: the result twice, and 4,096 drawings.
  """
  drawings, parts = iter(drawings), []
  while block := [*itertools.islice(drawings, _PACK_BLOCK)]:
    points, lengths = zip(*block, strict=True)
    stroke_length = np.fromiter(itertools.chain(*lengths), np.int64)
    drawing_length = np.array([*map(len, lengths)])
    points = _join_points(points)
    parts.append(from_lengths(points, stroke_length, drawing_length))
  return concatenate(parts)


def _join_points(parts: Sequence[np.ndarray]) -> np.ndarray:
  """Concatenates points, with the columns that all parts have."""
  columns = min((part.shape[1] for part in parts), default=2)
  none = np.zeros((0, columns), np.uint8)
  return np.concatenate([none, *(part[:, :columns] for part in parts)])


def from_lengths(
  points: np.ndarray, stroke_length: np.ndarray, drawing_length: np.ndarray
) -> Strokes:
  """Packs points [P, 2 or 3] uint8 by the number of points of each stroke [M].

  `drawing_length` [N] is the number of strokes of each drawing.

  Raises:
    UserError: more points or strokes than 32-bit offsets can reach.
  """
  check_count("points", len(points))
  check_count("strokes", len(stroke_length))
  stroke_start = np.zeros(len(stroke_length) + 1, np.uint32)
  drawing_start = np.zeros(len(drawing_length) + 1, np.int32)
  np.cumsum(stroke_length, dtype=np.uint32, out=stroke_start[1:])
  np.cumsum(drawing_length, dtype=np.int32, out=drawing_start[1:])
  return Strokes(points, stroke_start, drawing_start)


def check_count(name: str, count: int) -> None:
  """Raises UserError if there are more points or strokes than offsets reach."""
  limit = {"points": 2**32, "strokes": 2**31}[name]
  if count >= limit:
    text = f"expected fewer than {limit:,}, in 32 bits, got {count:,}"
    raise UserError("range", name, text)


def lengths(offsets: np.ndarray) -> np.ndarray:
  """Returns the differences of offsets [n + 1]: [n] int64."""
  return np.diff(offsets).astype(np.int64)


def unpack(strokes: Strokes, index: int) -> list[np.ndarray]:
  """Returns the strokes of one drawing, each [n, 2] uint8 (or [n, 3])."""
  first, last = strokes.drawing_start[index : index + 2]
  start = strokes.stroke_start[first : last + 1]
  return [strokes.points[a:b] for a, b in itertools.pairwise(start)]


def concatenate(parts: Sequence[Strokes]) -> Strokes:
  """Joins drawings in order, with their speeds if all parts have them."""
  none = np.zeros(0, np.int64)
  return from_lengths(
    _join_points([part.points for part in parts]),
    np.concatenate([none, *(lengths(part.stroke_start) for part in parts)]),
    np.concatenate([none, *(lengths(part.drawing_start) for part in parts)]),
  )


def take_strokes(strokes: Strokes, index: np.ndarray) -> Strokes:
  """Returns the drawings at `index` [n], in that order.

  Memory: the result, 12 bytes a stroke, 16 a drawing and, for a hundred
  thousand drawings at a time, 16 bytes a point.
  """
  parts = []
  for start in range(0, max(len(index), 1), _TAKE_BLOCK):
    rows = np.asarray(index[start : start + _TAKE_BLOCK])
    stroke, drawing_length = _ranges(strokes.drawing_start, rows)
    point, stroke_length = _ranges(strokes.stroke_start, stroke)
    points = strokes.points[point]
    parts.append(from_lengths(points, stroke_length, drawing_length))
  return parts[0] if len(parts) == 1 else concatenate(parts)


def _ranges(
  offsets: np.ndarray, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Joins the ranges offsets[i] : offsets[i + 1]; returns their lengths too."""
  start = offsets[index].astype(np.int64)
  length = offsets[index + 1] - start
  first = start - (np.cumsum(length) - length)
  return np.arange(length.sum()) + np.repeat(first, length), length


def flatten(drawing: object) -> tuple[list, list[int]]:
  """Returns all x and then all y of a decoded drawing, and stroke lengths.

  Raises:
    BadDrawingError: not a list of strokes [x, y] or [x, y, t] of equal lengths.
  """
  if not isinstance(drawing, list) or not drawing:
    raise BadDrawingError("no strokes")
  x, y, lengths = [], [], []
  for stroke in drawing:
    ok = type(stroke) is list and len(stroke) in (2, 3)
    if not ok or [*map(type, stroke[:2])] != [list, list]:
      raise BadDrawingError("a stroke is not lists of x and y")
    if len(stroke[0]) != len(stroke[1]):
      raise BadDrawingError("x and y of unequal length")
    if not stroke[0]:
      raise BadDrawingError("a stroke without points")
    x += stroke[0]
    y += stroke[1]
    lengths.append(len(stroke[0]))
  return x + y, lengths


def to_floats(values: list) -> np.ndarray:
  """Converts coordinates or times to [n] float64, or raises BadDrawingError."""
  # NumPy would convert True and "7".
  if not {*map(type, values)} <= {int, float}:
    raise BadDrawingError("a coordinate is not a number")
  try:
    floats = np.array(values, np.float64)
  except OverflowError as error:
    raise BadDrawingError("a coordinate out of range") from error
  if not np.isfinite(floats).all():
    raise BadDrawingError("a coordinate is not finite")
  return floats


def parse_simplified(drawing: object) -> Drawing:
  """Parses a decoded list of strokes [[x...], [y...]], integers in [0, 255].

  Raises:
    BadDrawingError: anything else.
  """
  values, lengths = flatten(drawing)
  # Nearly all are plain integers, which bytes() converts fastest.
  if {*map(type, values)} == {int}:
    try:
      packed = np.frombuffer(bytes(values), np.uint8).reshape(2, -1).T
    except ValueError as error:
      raise BadDrawingError(_OUT_OF_RANGE) from error
    return Drawing(packed, lengths)
  points = to_floats(values).reshape(2, -1).T
  packed = points.astype(np.uint8, casting="unsafe")
  if points.min() < 0 or points.max() > LARGEST or (packed != points).any():
    raise BadDrawingError(_OUT_OF_RANGE)
  return Drawing(packed, lengths)
