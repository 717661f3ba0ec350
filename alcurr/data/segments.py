"""Line segments of packed strokes, computed on the device."""

from typing import NamedTuple

import jax
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


class ToPixels(NamedTuple):
  """The map from points of the box to pixels: scale * point + offset."""

  scale: float
  offset: Array  # [B, 2] float32


class Span(NamedTuple):
  """Where B drawings lie in the packed strokes."""

  first_stroke: Array  # [B] int32
  num_strokes: Array  # [B] int32
  first_point: Array  # [B] uint32
  num_points: Array  # [B] int32


def get_span(strokes: Strokes, index: Array) -> Span:
  """Returns the span of the drawings at `index` [B]."""
  first_stroke = strokes.drawing_start[index]
  end_stroke = strokes.drawing_start[index + 1]
  start = strokes.stroke_start[first_stroke]
  length = strokes.stroke_start[end_stroke] - start
  return Span(
    first_stroke, end_stroke - first_stroke, start, length.astype(jnp.int32)
  )


def _take_points(
  strokes: Strokes, span: Span, first: Array, count: int
) -> tuple[Array, Array]:
  """Returns `count` points of each drawing from `first` on, and their places.

  A drawing repeats its last point past its end.
  """
  j = first + jnp.arange(count, dtype=jnp.int32)
  within = jnp.minimum(j, span.num_points[:, None] - 1).astype(jnp.uint32)
  place = span.first_point[:, None] + within  # [B, J]
  # NumPy's indexing would cast places beyond 2^31 to int32.
  points = lax.gather(
    strokes.points,
    place[..., None],
    lax.GatherDimensionNumbers(
      offset_dims=(place.ndim,),
      collapsed_slice_dims=(0,),
      start_index_map=(0,),
    ),
    slice_sizes=(1, strokes.points.shape[1]),
    mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
  )
  return points, place


def next_segments(
  strokes: Strokes,
  span: Span,
  first: Array,
  count: int,
  stroke: Array,
  last: Array,
  to_pixels: ToPixels,
) -> tuple[Segments, Array, Array]:
  """Returns the segments that end at the points from `first` on.

  Args:
    strokes: the pool's.
    span: of B drawings.
    first: [] int32, the number of points drawn already.
    count: J; past its end a drawing repeats its last point.
    stroke: [B] int32, of the last point drawn; at the start, the first.
    last: [B, 2] float32, the last point drawn, in pixels.
    to_pixels: of the B drawings.

  Returns:
    The segments, and `stroke` and `last` after them.
  """
  scale, offset = to_pixels
  values, place = _take_points(strokes, span, first, count)
  values = values.astype(jnp.float32)
  point = scale * values[..., :2] + offset[:, None]
  # Every stroke has a point, so J points begin J strokes at most.
  ahead = stroke[:, None] + 1 + jnp.arange(count, dtype=jnp.int32)
  # The entry after the pool's last stroke is the end of its points.
  ahead = jnp.minimum(ahead, strokes.stroke_start.shape[0] - 1)
  starts = strokes.stroke_start[ahead]  # [B, J]
  passed = (starts[:, None, :] <= place[:, :, None]).sum(-1)
  strokes_here = stroke[:, None] + passed  # [B, J]
  before = jnp.concatenate([stroke[:, None], strokes_here[:, :-1]], axis=1)
  lifted = (strokes_here > before) | (
    first + jnp.arange(count, dtype=jnp.int32) == 0
  )
  previous = jnp.concatenate([last[:, None], point[:, :-1]], axis=1)
  start = jnp.where(lifted[..., None], point, previous)
  step = point - start
  length = jnp.sqrt((step**2).sum(-1))
  # A dot has any direction, and so has a repeated point that rounding moves:
  # points are whole numbers.
  least = scale / 2
  along = jnp.where(
    length[..., None] > least,
    step / jnp.maximum(length, least)[..., None],
    jnp.array([1.0, 0.0]),
  )
  speed = values[..., 2] / 255 if values.shape[-1] > 2 else None
  middle = (start + point) / 2
  segments = Segments(middle, along, length / 2, strokes_here, speed)
  return segments, strokes_here[:, -1], point[:, -1]


def squared_distance(x: Array, y: Array, segment: Segments) -> Array:
  """Returns [B, H, W], from pixels x [1, 1, W], y [1, H, 1] to a segment."""
  mx, my = (segment.middle[:, i, None, None] for i in (0, 1))
  ux, uy = (segment.along[:, i, None, None] for i in (0, 1))
  dx, dy = x - mx, y - my
  across = dx * uy - dy * ux
  beyond = jnp.abs(dx * ux + dy * uy) - segment.half[:, None, None]
  return across**2 + jnp.maximum(beyond, 0) ** 2


def get_extent(strokes: Strokes, span: Span, count: int) -> Array:
  """Returns the largest x and y of each drawing: [B, 2] float32."""
  turns = -(-jnp.max(span.num_points) // count)

  def turn(i: Array, extent: Array) -> Array:
    points, _ = _take_points(strokes, span, i * count, count)
    return jnp.maximum(extent, points[..., :2].max(1))

  extent = jnp.zeros((span.num_points.shape[0], 2), jnp.uint8)
  extent = jax.lax.fori_loop(0, turns, turn, extent)
  return extent.astype(jnp.float32)
