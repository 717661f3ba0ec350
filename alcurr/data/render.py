"""Strokes to images on the device, inside the training step.

Anti-aliased by distance: a pixel is covered by clip(width / 2 - d + 1 / 2,
0, 1), where d is the distance of its centre to the nearest segment, which is
a pen with a round tip. Nothing is padded: a loop walks over the points of all
drawings of the batch at once and ends with the longest.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.types import Array, Strokes

# Google's own bitmaps of the 256-wide box: a pen of 16 and 16 of padding, and
# half the pen, on each side (github.com/googlecreativelab/quickdraw-dataset,
# issue 19). The defaults keep these proportions at any size.
_BOX = 256.0
_PEN = 16.0
_BORDER = 16.0 + _PEN / 2
# Points drawn in one turn of the loop, fused into one pass over the image.
_POINTS_PER_TURN = 4

Render = Callable[[Strokes, Array], Array]


def make_render(
  *,
  size: int = 28,
  stroke_width: float | None = None,
  stroke_decay: float = 0.0,
) -> Render:
  """A function (strokes, index [B] int32) -> image [B, size, size, 1].

  The image is float32 in [0, 1], ink 1, in steps of 1/255 as if it had been
  stored; each drawing is centred. Where strokes overlap the brighter one
  shows, so the order of drawing tells in `stroke_decay` alone.

  Args:
    size: pixels of a side.
    stroke_width: in pixels; None for the proportion of Google's bitmaps.
    stroke_decay: d in [0, 1]; stroke s of S has the intensity
      1 - d s / (S - 1), the linear decay in drawing order of "Data Sampling
      Algorithms for Active Learning".
  """
  if size < 1:
    raise ValueError(f"image size must be at least 1, got {size}")
  if stroke_width is not None and not 0 < stroke_width < float("inf"):
    raise ValueError(f"stroke_width must be positive, got {stroke_width}")
  if not 0 <= stroke_decay <= 1:
    raise ValueError(f"stroke_decay must be in [0, 1], got {stroke_decay}")
  scale = size / (_BOX + 2 * _BORDER)
  half_width = (_PEN * scale if stroke_width is None else stroke_width) / 2

  def cover(squared: Array) -> Array:
    return jnp.clip(half_width - jnp.sqrt(squared) + 0.5, 0, 1)

  def render(strokes: Strokes, index: Array) -> Array:
    first_stroke = strokes.drawing_start[index]
    num_strokes = strokes.drawing_start[index + 1] - first_stroke
    start = strokes.stroke_start[first_stroke]
    end = strokes.stroke_start[first_stroke + num_strokes]
    turns = -(-jnp.max(end - start) // _POINTS_PER_TURN)
    extent = _extent(strokes, start, end, turns)
    # From the box to pixels, whose centres are at halves.
    offset = scale * (_BORDER + (_BOX - extent) / 2) - 0.5  # [B, 2]
    row = jnp.arange(size, dtype=jnp.float32)
    x, y = row[None, None, :], row[None, :, None]
    step_down = stroke_decay / jnp.maximum(num_strokes - 1, 1)

    def draw_point(j: Array, stroke: Array, last: Array, image: Array):
      # Past its end a drawing repeats its last point, to no effect.
      place = start + jnp.minimum(j, end - start - 1)
      point = scale * strokes.points[place].astype(jnp.float32) + offset
      # Every stroke has a point, so at most one begins here.
      begins = strokes.stroke_start[stroke + 1] <= place
      stroke = stroke + begins
      lifted = begins | (j == 0)
      last = jnp.where(lifted[:, None], point, last)
      squared = _squared_distance(x, y, last, point)
      if stroke_decay:
        intensity = 1 - step_down * (stroke - first_stroke)
        ink = intensity[:, None, None] * cover(squared)
        return stroke, point, jnp.maximum(image, ink)
      # Without it the nearest segment is the brightest, and one root at the
      # end does: 1.5 times as many images a second on a CPU.
      return stroke, point, jnp.minimum(image, squared)

    def turn(i: Array, carry):
      for k in range(_POINTS_PER_TURN):
        carry = draw_point(i * _POINTS_PER_TURN + k, *carry)
      return carry

    blank = 0.0 if stroke_decay else jnp.inf
    image = jnp.full((index.shape[0], size, size), blank, jnp.float32)
    carry = (first_stroke, jnp.zeros_like(offset), image)
    _, _, image = jax.lax.fori_loop(0, turns, turn, carry)
    if not stroke_decay:
      image = cover(image)
    return (jnp.round(255 * image) / 255)[..., None]

  return render


def _squared_distance(x: Array, y: Array, a: Array, b: Array) -> Array:
  """Of the pixels x [1, 1, W], y [1, H, 1] to the segments a to b [B, 2]."""
  (ax, ay), (dx, dy) = (
    (v[:, 0, None, None], v[:, 1, None, None]) for v in (a, b - a)
  )
  px, py = x - ax, y - ay
  # A dot is a segment without length: only its one point remains.
  length2 = jnp.maximum(dx * dx + dy * dy, 1e-12)
  t = jnp.clip((px * dx + py * dy) / length2, 0, 1)
  return (px - t * dx) ** 2 + (py - t * dy) ** 2


def _extent(strokes: Strokes, start: Array, end: Array, turns: Array) -> Array:
  """The largest x and y of each drawing, [B, 2] float32."""

  def turn(i: Array, extent: Array) -> Array:
    j = i * _POINTS_PER_TURN + jnp.arange(_POINTS_PER_TURN)
    place = start[:, None] + jnp.minimum(j, (end - start)[:, None] - 1)
    return jnp.maximum(extent, strokes.points[place].max(1))

  extent = jnp.zeros((start.shape[0], 2), jnp.uint8)
  extent = jax.lax.fori_loop(0, turns, turn, extent)
  return extent.astype(jnp.float32)


def render_all(
  strokes: Strokes, render: Render, batch_size: int = 512
) -> np.ndarray:
  """Every drawing as a picture, ahead of training: [N, H, W, C] uint8.

  The pixels are those of `render` in the step, which are 8-bit too (but for a
  tie in a million that another compilation rounds to the other side).

  Args:
    strokes: of N drawings.
    render: from `make_render`.
    batch_size: drawings at a time.
  """
  if batch_size < 1:
    raise ValueError(f"batch_size must be at least 1, got {batch_size}")
  num_drawings = len(strokes.drawing_start) - 1
  strokes = jax.tree.map(jnp.asarray, strokes)

  @jax.jit
  def some(strokes: Strokes, index: Array) -> Array:
    return jnp.round(255 * render(strokes, index)).astype(jnp.uint8)

  images = []
  for first in range(0, num_drawings, batch_size):
    index = np.arange(first, first + batch_size).clip(max=num_drawings - 1)
    images.append(np.asarray(some(strokes, index)))
  return np.concatenate(images)[:num_drawings]
