"""Packed strokes on the device: where drawings lie, and their line segments."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from alcurr.types import Array, Strokes


class Segments(NamedTuple):
  """J of each of B drawings, in pixels, in drawing order."""

  middle: Array  # [B, J, 2] float32
  along: Array  # [B, J, 2] float32, of length 1
  half: Array  # [B, J] float32, half the length
  stroke: Array  # [B, J] int32
  speed: Array | None  # [B, J] float32 in [0, 1], where it is asked for


class Span(NamedTuple):
  """Where B drawings lie in the packed strokes."""

  first_stroke: Array  # [B] int32
  num_strokes: Array  # [B] int32
  first_point: Array  # [B] uint32
  num_points: Array  # [B] int32


def get_span(strokes: Strokes, index: Array) -> Span:
  first_stroke = strokes.drawing_start[index]
  end_stroke = strokes.drawing_start[index + 1]
  start = strokes.stroke_start[first_stroke]
  length = strokes.stroke_start[end_stroke] - start
  return Span(
    first_stroke, end_stroke - first_stroke, start, length.astype(jnp.int32)
  )


def take_points(points: Array, place: Array) -> Array:
  """points[place], for places beyond 2^31: [..., 2 or 3] uint8.

  Indexing as in NumPy would cast the places to int32, and read others.

  Args:
    points: [P, 2 or 3] uint8, P up to 2^32.
    place: uint32, each below P.
  """
  return lax.gather(
    points,
    place[..., None],
    lax.GatherDimensionNumbers(
      offset_dims=(place.ndim,),
      collapsed_slice_dims=(0,),
      start_index_map=(0,),
    ),
    slice_sizes=(1, points.shape[1]),
    mode=lax.GatherScatterMode.PROMISE_IN_BOUNDS,
  )


def next_segments(
  strokes: Strokes,
  span: Span,
  first: Array,
  count: int,
  stroke: Array,
  last: Array,
  scale: float,
  offset: Array,
  with_speed: bool,
) -> tuple[Segments, Array, Array]:
  """The segments that end at the points `first` and on, of each drawing.

  Args:
    strokes: the pool's.
    span: of B drawings.
    first: [] int32, points of each drawing that are drawn.
    count: J, points to come; past its end a drawing repeats its last.
    stroke: [B] int32, of the last point drawn; the first at the start.
    last: [B, 2] float32, that point in pixels.
    scale: pixels per unit of the box.
    offset: [B, 2] float32, in pixels.
    with_speed: whether the pen's speed is asked for.

  Returns:
    The segments, and `stroke` and `last` after them.
  """
  j = first + jnp.arange(count)  # [J]
  within = jnp.minimum(j, span.num_points[:, None] - 1).astype(jnp.uint32)
  place = span.first_point[:, None] + within  # [B, J]
  values = take_points(strokes.points, place).astype(jnp.float32)
  point = scale * values[..., :2] + offset[:, None]
  # Every stroke has a point, so that of J points at most J begin one.
  ahead = stroke[:, None] + 1 + jnp.arange(count)
  # Past the pool's last stroke stands the end of its points.
  ahead = jnp.minimum(ahead, strokes.stroke_start.shape[0] - 1)
  starts = strokes.stroke_start[ahead]  # [B, J]
  passed = (starts[:, None, :] <= place[:, :, None]).sum(-1)
  strokes_here = stroke[:, None] + passed  # [B, J]
  before = jnp.concatenate([stroke[:, None], strokes_here[:, :-1]], axis=1)
  lifted = (strokes_here > before) | (j == 0)
  previous = jnp.concatenate([last[:, None], point[:, :-1]], axis=1)
  start = jnp.where(lifted[..., None], point, previous)
  step = point - start
  length = jnp.sqrt((step**2).sum(-1))
  # A dot has no direction; any will do. Where rounding moves a point that is
  # drawn twice, that is no direction either: points are whole numbers.
  least = scale / 2
  along = jnp.where(
    length[..., None] > least,
    step / jnp.maximum(length, least)[..., None],
    jnp.array([1.0, 0.0]),
  )
  speed = values[..., 2] / 255 if with_speed else None
  segments = Segments(
    (start + point) / 2, along, length / 2, strokes_here, speed
  )
  return segments, strokes_here[:, -1], point[:, -1]


def squared_distance(x: Array, y: Array, segment: Segments) -> Array:
  """Of pixels x [1, 1, W], y [1, H, 1] to a segment each: [B, H, W]."""
  mx, my = (segment.middle[:, i, None, None] for i in (0, 1))
  ux, uy = (segment.along[:, i, None, None] for i in (0, 1))
  dx, dy = x - mx, y - my
  across = dx * uy - dy * ux
  beyond = jnp.abs(dx * ux + dy * uy) - segment.half[:, None, None]
  return across**2 + jnp.maximum(beyond, 0) ** 2


def get_extent(strokes: Strokes, span: Span, count: int) -> Array:
  """The largest x and y of each drawing, [B, 2] float32."""
  turns = -(-jnp.max(span.num_points) // count)

  def turn(i: Array, extent: Array) -> Array:
    j = i * count + jnp.arange(count)
    within = jnp.minimum(j, span.num_points[:, None] - 1).astype(jnp.uint32)
    place = span.first_point[:, None] + within
    points = take_points(strokes.points, place)[..., :2]
    return jnp.maximum(extent, points.max(1))

  extent = jnp.zeros((span.num_points.shape[0], 2), jnp.uint8)
  extent = jax.lax.fori_loop(0, turns, turn, extent)
  return extent.astype(jnp.float32)
