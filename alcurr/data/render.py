"""Renders strokes to images on the device, inside the training step.

A pixel's coverage is clip(width / 2 - d + 1 / 2, 0, 1), where d is the distance
of its centre to the nearest segment: a pen with a round tip. A loop over the
points of drawings of similar length ends with the longest, without padding.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from alcurr.core.promotion import standard_promotion
from alcurr.data import segments as lines
from alcurr.types import Array, Strokes

# Google's bitmaps of the 256-wide box have a pen of 16 and, on each side, 16 of
# padding and half the pen (github.com/googlecreativelab/quickdraw-dataset,
# issue 19). The defaults keep these proportions at any size.
_BOX = 256.0
_PEN = 16.0
_BORDER = 16.0 + _PEN / 2


class _Chunks(NamedTuple):
  """The amounts of work done together, which change no pixel."""

  points: int  # drawn in a turn of the loop
  extent_points: int  # read in a turn, for the size of a drawing
  pixels: int  # of a group of drawings; 0: all drawings are a group


# Real drawings, batch 512, two CPU cores, images a second at 28 and 64 pixels:
# all together 11,300 and 6,300; in groups that fit a core's cache 36,000 and
# 16,800. On a GPU, each turn waits for the host, so there are few.
_CHUNKS = {"cpu": _Chunks(points=8, extent_points=16, pixels=2**16)}
_OTHER_CHUNKS = _Chunks(points=32, extent_points=256, pixels=0)

CHANNELS = ("ink", "order", "speed")

Render = Callable[[Strokes, Array], Array]


def make_render(
  *,
  size: int = 28,
  stroke_width: float | None = None,
  stroke_decay: float = 0.0,
  channels: Sequence[str] = ("ink",),
) -> Render:
  """Returns a function (strokes, index [B] int32) -> image [B, H, W, C].

  The image is float32 in [0, 1], ink 1, in steps of 1/255 as if it had been
  stored. Each drawing is centred. Where strokes overlap, the brighter shows.

  Args:
    size: H and W in pixels.
    stroke_width: in pixels; None for the proportion of Google's bitmaps.
    stroke_decay: d in [0, 1]; stroke s of S has the intensity
      1 - d s / (S - 1), the linear decay in drawing order of "Data Sampling
      Algorithms for Active Learning".
    channels: C of CHANNELS, each once: ink is 1, or as `stroke_decay` says;
      order is (s + 1) / S on stroke s of S; speed is v / (v + v') for the
      pen's speed v and the drawing's v', of points [P, 3] only
      (`alcurr.data.quickdraw.simplification`).

  Raises:
    ValueError: a value out of range, or an unknown channel.
  """
  if not len({*channels} & {*CHANNELS}) == len(channels) > 0:
    known, got = ", ".join(CHANNELS), ",".join(channels)
    raise ValueError(f"channels must be some of {known}, once, got {got!r}")
  if size < 1:
    raise ValueError(f"image size must be at least 1, got {size}")
  if stroke_width is not None and not 0 < stroke_width < float("inf"):
    raise ValueError(f"stroke_width must be positive, got {stroke_width}")
  if not 0 <= stroke_decay <= 1:
    raise ValueError(f"stroke_decay must be in [0, 1], got {stroke_decay}")
  scale = size / (_BOX + 2 * _BORDER)
  half_width = (_PEN * scale if stroke_width is None else stroke_width) / 2
  row = jnp.arange(size, dtype=jnp.float32)
  x, y = row[None, None, :], row[None, :, None]
  chunks = _CHUNKS.get(jax.default_backend(), _OTHER_CHUNKS)
  channels = tuple(channels)
  style = _Style(x, y, scale, half_width, stroke_decay, channels, chunks)
  group = max(chunks.pixels // size**2, 1)

  @standard_promotion()
  def render(strokes: Strokes, index: Array) -> Array:
    if "speed" in channels and strokes.points.shape[1] < 3:
      raise ValueError("drawings without times have no speed to show")
    draw = functools.partial(_draw, style, strokes)
    if chunks.pixels and group < index.shape[0]:
      length = lines.get_span(strokes, index).num_points
      image = _by_length(draw, length, index, group)
    else:
      image = draw(index)
    return jnp.round(255 * image) / 255

  return render


class _Style(NamedTuple):
  """The look of every drawing, and the work done together."""

  x: Array  # [1, 1, W] float32, of the pixels
  y: Array  # [1, H, 1]
  scale: float  # pixels for each unit of the box
  half_width: float
  decay: float
  channels: tuple[str, ...]
  chunks: _Chunks


def _draw(style: _Style, strokes: Strokes, index: Array) -> Array:
  """Returns the images of the drawings at `index` [B]: [B, H, W, C]."""
  # If all ink is alike, the nearest segment is the brightest, and a square root
  # at the end suffices: 1.5 times as many images a second on a CPU.
  chunks, scale = style.chunks, style.scale
  alike = style.channels == ("ink",) and not style.decay
  span = lines.get_span(strokes, index)
  turns = -(-jnp.max(span.num_points) // chunks.points)
  extent = lines.get_extent(span, chunks.extent_points)
  # Pixels have their centres at halves.
  zero = scale * (_BORDER + (_BOX - extent) / 2) - 0.5  # [B, 2]
  step_down = style.decay / jnp.maximum(span.num_strokes - 1, 1)

  def cover(squared: Array) -> Array:
    return jnp.clip(style.half_width - jnp.sqrt(squared) + 0.5, 0, 1)

  def add(image: tuple, segments: lines.Segments, j: int) -> tuple:
    segment = jax.tree.map(lambda v: v[:, j], segments)
    squared = lines.squared_distance(style.x, style.y, segment)
    if alike:
      return (jnp.minimum(image[0], squared),)
    covered, number = cover(squared), segment.stroke - span.first_stroke
    shades = {
      "ink": 1 - step_down * number,
      "order": (number + 1) / span.num_strokes,
      "speed": segment.speed,
    }
    return tuple(
      jnp.maximum(plane, shades[name][:, None, None] * covered)
      for name, plane in zip(style.channels, image, strict=True)
    )

  def turn(i: Array, carry):
    pen, image = carry
    first, count = i * chunks.points, chunks.points
    segments, pen = lines.next_segments(span, first, count, pen, scale, zero)
    # Without the barrier, a GPU computes them again for each pixel.
    segments = lax.optimization_barrier(segments)
    # Unrolled, the loop is a single pass over the image.
    for j in range(count):
      image = add(image, segments, j)
    return pen, image

  blank = jnp.inf if alike else 0.0
  shape = (index.shape[0], style.x.size, style.y.size)
  plane = jnp.full(shape, blank, jnp.float32)
  pen = lines.Pen(span.first_stroke, jnp.zeros_like(zero))
  carry = (pen, (plane,) * len(style.channels))
  _, image = lax.fori_loop(0, turns, turn, carry)
  return jnp.stack(tuple(map(cover, image)) if alike else image, -1)


def _by_length(
  draw: Callable[[Array], Array], length: Array, index: Array, group: int
) -> Array:
  """Draws by groups of similar length; returns images in index order."""
  order = jnp.argsort(length)
  num_groups = -(-index.shape[0] // group)
  # The shortest drawing pads the first group.
  spare = num_groups * group - index.shape[0]
  filled = jnp.concatenate([jnp.repeat(order[:1], spare), order])
  image = lax.map(draw, index[filled].reshape(num_groups, group))
  image = image.reshape(-1, *image.shape[2:])
  return image[jnp.argsort(order) + spare]


def render_all(
  strokes: Strokes, render: Render, batch_size: int = 512
) -> np.ndarray:
  """Renders N drawings before training: [N, H, W, C] uint8.

  The pixels are those of `render` in the step. One in a million may be a tie
  that another compilation rounds to the other side. `batch_size` drawings are
  rendered at a time, at least 1.
  """
  if batch_size < 1:
    raise ValueError(f"batch_size must be at least 1, got {batch_size}")
  num_drawings = len(strokes.drawing_start) - 1
  strokes = jax.device_put(strokes)

  @jax.jit
  def render_batch(strokes: Strokes, index: Array) -> Array:
    return jnp.round(255 * render(strokes, index)).astype(jnp.uint8)

  images = []
  for first in range(0, num_drawings, batch_size):
    index = np.arange(first, first + batch_size).clip(max=num_drawings - 1)
    images.append(np.asarray(render_batch(strokes, index)))
  return np.concatenate(images)[:num_drawings]
