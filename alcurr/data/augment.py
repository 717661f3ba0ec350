"""Small changes to a batch's images that leave their classes as they are.

Made anew for every step from its key, inside the step, so that no example is
seen twice alike; a step's loss before and after the update is that of the same
changed images.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from alcurr.core import specs
from alcurr.types import Array, Augment


def affine(
  *,
  flip: bool = False,
  rotate: float = 0.0,
  scale: float = 0.0,
  shift: float = 0.0,
) -> Augment:
  """Mirrors, turns, zooms and moves each image by an amount of its own.

  Amounts are uniform within their bounds. Pixels are bilinear, and 0 (no ink)
  where an image ends.

  Args:
    flip: every other image, by lot, is mirrored left for right.
    rotate: most degrees, either way, in [0, 180].
    scale: most of 1 that the size gains or loses, in [0, 1).
    shift: most of the side, down or up and right or left, in [0, 1).
  """
  if not 0 <= rotate <= 180:
    raise ValueError(f"rotate must be in [0, 180] degrees, got {rotate}")
  for name, value in (("scale", scale), ("shift", shift)):
    if not 0 <= value < 1:
      raise ValueError(f"{name} must be in [0, 1), got {value}")

  def augment(key: Array, image: Array) -> Array:
    key_flip, key_rotate, key_scale, key_shift = jax.random.split(key, 4)
    count = image.shape[0]
    if flip:
      chosen = jax.random.bernoulli(key_flip, shape=(count, 1, 1, 1))
      image = jnp.where(chosen, image[:, :, ::-1], image)
    if not (rotate or scale or shift):
      return image
    angle = _within(key_rotate, (count,), jnp.deg2rad(rotate))
    size = 1 + _within(key_scale, (count,), scale)
    height_width = jnp.array(image.shape[1:3])
    move = _within(key_shift, (count, 2), shift) * height_width
    return jax.vmap(_resample)(image, angle, size, move)

  return augment


def _within(key: Array, shape: tuple[int, ...], bound: float | Array) -> Array:
  return jax.random.uniform(key, shape, minval=-1.0) * bound


def _resample(image: Array, angle: Array, size: Array, move: Array) -> Array:
  """An image [H, W, C] turned by `angle`, zoomed by `size`, moved by [2]."""
  height, width, _ = image.shape
  centre = jnp.array([height - 1, width - 1]) / 2
  row, column = jnp.mgrid[:height, :width]
  out = jnp.stack([row, column]).reshape(2, -1) - (centre + move)[:, None]
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  # Where a pixel comes from: the change undone.
  undo = jnp.array([[cos, sin], [-sin, cos]]) / size
  place = undo @ out + centre[:, None]

  def channel(values: Array) -> Array:
    return jax.scipy.ndimage.map_coordinates(values, list(place), order=1)

  changed = jax.vmap(channel, -1, -1)(image)
  return changed.reshape(image.shape)


def none() -> None:
  """Images as they are."""
  return


AUGMENTS: Mapping[str, Callable[..., Augment | None]] = {
  "none": none,
  "affine": affine,
}


def get_augment(spec: str, field: str) -> Augment | None:
  """What a spec such as "affine(flip=True, rotate=10)" names.

  Args:
    spec: a key of AUGMENTS, with arguments; "none" gives None.
    field: where it stands in the config, for the messages.

  Raises:
    UserError: an unknown name or argument, or a value out of range.
  """
  return specs.make(spec, AUGMENTS, field)
