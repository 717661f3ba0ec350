"""Line segments of packed strokes, computed on the device."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from alcurr.types import Array, Strokes


class Segments(NamedTuple):
  """J segments of each of B drawings, in pixels, in drawing order."""

  middle: Array  # [B, J, 2] float32
  along: Array  # [B, J, 2] float32, of length 1
  half: Array  # [B, J] float32, half the length
  stroke: Array  # [B, J] int32
  speed: Array | None  # [B, J] float32 in [0, 1], if the points have it


class Span(NamedTuple):
  """Packed strokes, and where B drawings lie in them."""

  strokes: Strokes
  first_stroke: Array  # [B] int32
  num_strokes: Array  # [B] int32
  first_point: Array  # [B] uint32
  num_points: Array  # [B] int32


def get_span(strokes: Strokes, index: Array) -> Span:
  """Returns the span of the drawings at `index` [B]."""
  first = strokes.drawing_start[index]
  end = strokes.drawing_start[index + 1]
  start = strokes.stroke_start[first]
  length = (strokes.stroke_start[end] - start).astype(jnp.int32)
  return Span(strokes, first, end - first, start, length)


def _take_points(span: Span, first: Array, count: int) -> tuple[Array, Array]:
  """Returns `count` points of each drawing from `first` on, and their places.

  A drawing repeats its last point past its end.
  """
  j = first + jnp.arange(count, dtype=jnp.int32)
  within = jnp.minimum(j, span.num_points[:, None] - 1).astype(jnp.uint32)
  place = span.first_point[:, None] + within  # [B, J]
  # NumPy's indexing would cast places beyond 2^31 to int32.
  points = lax.gather(
    span.strokes.points,
    place[..., None],
    lax.GatherDimensionNumbers((2,), (0,), (0,)),
    slice_sizes=(1, span.strokes.points.shape[1]),
    mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
  )
  return points, place


class Pen(NamedTuple):
  """Where the pens of B drawings are; at the start, in their first strokes."""

  stroke: Array  # [B] int32
  point: Array  # [B, 2] float32, in pixels


def next_segments(
  span: Span, first: Array, count: int, pen: Pen, scale: float, zero: Array
) -> tuple[Segments, Pen]:
  """Returns the `count` segments that end at the points from `first` on.

  The pen after them is returned too. A point p has the pixel scale * p + zero,
  which is [B, 2].
  """
  values, place = _take_points(span, first, count)
  values = values.astype(jnp.float32)
  end = scale * values[..., :2] + zero[:, None]
  # Every stroke has a point, so J points begin J strokes at most. The entry
  # after the pool's last stroke is the end of its points.
  stroke_start = span.strokes.stroke_start
  turn = jnp.arange(count, dtype=jnp.int32)
  ahead = jnp.minimum(pen.stroke[:, None] + 1 + turn, len(stroke_start) - 1)
  starts = stroke_start[ahead]  # [B, J]
  passed = (starts[:, None, :] <= place[:, :, None]).sum(-1, dtype=jnp.int32)
  stroke = pen.stroke[:, None] + passed  # [B, J]
  before = jnp.concatenate([pen.stroke[:, None], stroke[:, :-1]], axis=1)
  lifted = (stroke > before) | (first + turn == 0)
  previous = jnp.concatenate([pen.point[:, None], end[:, :-1]], axis=1)
  start = jnp.where(lifted[..., None], end, previous)
  step = end - start
  length = jnp.sqrt((step**2).sum(-1))
  # A dot has any direction, and so has a repeated point that rounding moves:
  # points are whole numbers.
  least = scale / 2
  moves = length[..., None] > least
  direction = step / jnp.maximum(length, least)[..., None]
  along = jnp.where(moves, direction, jnp.array([1, 0], jnp.float32))
  speed = values[..., 2] / 255 if values.shape[-1] > 2 else None
  middle = (start + end) / 2
  segments = Segments(middle, along, length / 2, stroke, speed)
  return segments, Pen(stroke[:, -1], end[:, -1])


def squared_distance(x: Array, y: Array, segment: Segments) -> Array:
  """Returns [B, H, W], from pixels x [1, 1, W], y [1, H, 1] to a segment."""
  mx, my = (segment.middle[:, i, None, None] for i in (0, 1))
  ux, uy = (segment.along[:, i, None, None] for i in (0, 1))
  dx, dy = x - mx, y - my
  across = dx * uy - dy * ux
  beyond = jnp.abs(dx * ux + dy * uy) - segment.half[:, None, None]
  return across**2 + jnp.maximum(beyond, 0) ** 2


def get_extent(span: Span, count: int) -> Array:
  """Returns the largest x and y of each drawing: [B, 2] float32."""
  turns = -(-jnp.max(span.num_points) // count)

  def turn(i: Array, extent: Array) -> Array:
    points, _ = _take_points(span, i * count, count)
    return jnp.maximum(extent, points[..., :2].max(1))

  extent = jnp.zeros((span.num_points.shape[0], 2), jnp.uint8)
  return lax.fori_loop(0, turns, turn, extent).astype(jnp.float32)
