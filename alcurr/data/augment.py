"""Small random changes to a batch's images that keep their classes.

They are drawn in every step from its key. The losses of a step before and after
its update are of the same changed images.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from alcurr.core.promotion import standard_promotion
from alcurr.types import Array, Augment


def affine(
  *,
  flip: bool = False,
  rotate: float = 0.0,
  scale: float = 0.0,
  shift: float = 0.0,
) -> Augment:
  """Mirrors, rotates, scales and shifts each image by a random amount.

  Amounts are uniform within their bounds. Pixels are interpolated linearly,
  and are 0 (no ink) outside of the image.

  Args:
    flip: mirrors each image left to right with probability 1/2.
    rotate: largest rotation either way, in [0, 180] degrees.
    scale: largest relative change of size, in [0, 1).
    shift: largest shift along each axis, as a share of the side, in [0, 1).
  """
  if not 0 <= rotate <= 180:
    raise ValueError(f"rotate must be in [0, 180] degrees, got {rotate}")
  for name, value in (("scale", scale), ("shift", shift)):
    if not 0 <= value < 1:
      raise ValueError(f"{name} must be in [0, 1), got {value}")

  @standard_promotion()
  def augment(key: Array, image: Array) -> Array:
    key_flip, key_rotate, key_scale, key_shift = jax.random.split(key, 4)
    count = image.shape[0]
    if flip:
      chosen = jax.random.bernoulli(key_flip, shape=(count, 1, 1, 1))
      image = jnp.where(chosen, image[:, :, ::-1], image)
    if not (rotate or scale or shift):
      return image
    uniform = functools.partial(
      jax.random.uniform, dtype=jnp.float32, minval=-1.0
    )
    angle = uniform(key_rotate, (count,)) * jnp.deg2rad(rotate)
    size = 1 + uniform(key_scale, (count,)) * scale
    sides = jnp.array(image.shape[1:3])
    move = uniform(key_shift, (count, 2)) * shift * sides
    return jax.vmap(_resample)(image, angle, size, move)

  return augment


def _resample(image: Array, angle: Array, size: Array, move: Array) -> Array:
  """Rotates an image [H, W, C] by `angle`, scales it, and moves it by [2]."""
  height, width, _ = image.shape
  centre = jnp.array([height - 1, width - 1], jnp.float32) / 2
  row, column = jnp.mgrid[:height, :width]
  out = jnp.stack([row, column]).reshape(2, -1) - (centre + move)[:, None]
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  # The inverse map: where each pixel comes from.
  undo = jnp.array([[cos, sin], [-sin, cos]]) / size
  place = undo @ out + centre[:, None]

  resample = functools.partial(
    jax.scipy.ndimage.map_coordinates, coordinates=list(place), order=1
  )
  return jax.vmap(resample, -1, -1)(image).reshape(image.shape)


AUGMENTS: Mapping[str, Callable[..., Augment | None]] = {
  "none": lambda: None,
  "affine": affine,
}
