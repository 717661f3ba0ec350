"""Augmented images, against SciPy and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from scipy import ndimage

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.data import augment
from alcurr.data.augment import AUGMENTS, affine
from alcurr.data.pool import make_gather
from alcurr.training import step

IMAGE = np.random.default_rng(0).random((64, 12, 15, 2)).astype(np.float32)


def test_flips_are_mirror_images_of_about_half():
  flipped = jax.jit(affine(flip=True))(jax.random.key(0), IMAGE)
  mirrored, kept = (
    np.array(
      [np.array_equal(a, b) for a, b in zip(flipped, other, strict=True)]
    )
    for other in (IMAGE[:, :, ::-1], IMAGE)
  )
  assert (mirrored ^ kept).all()
  assert 16 <= mirrored.sum() <= 48  # 32 of 64: four standard deviations


@pytest.mark.parametrize(
  ("angle", "size", "move"),
  [
    (0.0, 1.0, (0, 0)),
    (0.4, 1.0, (0, 0)),
    (-1.1, 1.2, (1.5, -2)),
    (0, 0.7, (0, 3)),
  ],
)
def test_an_image_is_resampled_as_by_scipy(angle, size, move):
  mine = augment._resample(
    jnp.asarray(IMAGE[0]),
    jnp.float32(angle),
    jnp.float32(size),
    jnp.array(move),
  )
  cos, sin = np.cos(angle), np.sin(angle)
  undo = np.array([[cos, sin], [-sin, cos]]) / size
  centre = (np.array(IMAGE.shape[1:3]) - 1) / 2
  offset = centre - undo @ (centre + np.array(move))
  # JAX mixes the zeros beyond the edge in, SciPy does not: pad them on.
  offset += 20 - undo @ [20, 20]
  padded = np.pad(IMAGE[0], ((20, 20), (20, 20), (0, 0)))
  channels = [
    ndimage.affine_transform(padded[..., c], undo, offset, order=1)
    for c in range(2)
  ]
  theirs = np.stack(channels, -1)[20:-20, 20:-20]
  np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_a_quarter_turn_is_exact():
  square = jnp.asarray(IMAGE[0, :, :12])
  turned = augment._resample(square, jnp.pi / 2, 1.0, jnp.zeros(2))
  np.testing.assert_allclose(turned, np.rot90(square), atol=1e-5)


def test_amounts_stay_within_their_bounds_and_differ():
  """A dot, by the centre of what becomes of it."""
  dot = np.zeros((200, 31, 31, 1), np.float32)
  dot[:, 15, 15] = 1
  moved = np.asarray(affine(shift=0.2)(jax.random.key(1), dot))
  rows = np.einsum("nhwc,h->n", moved, np.arange(31)) - 15
  columns = np.einsum("nhwc,w->n", moved, np.arange(31)) - 15
  for place in (rows, columns):
    assert np.abs(place).max() <= 0.2 * 31
    assert np.abs(place).max() > 0.18 * 31 and np.unique(place).size > 190
  np.testing.assert_allclose(moved.sum((1, 2, 3)), 1, atol=1e-5)


def test_a_step_trains_on_the_changed_images():
  """The same step on a pool whose images were changed beforehand."""
  pool, tx, model = toy.make_pool(64), optax.sgd(0.5), toy.make_linear()
  sampler = toy.make_sampler(
    {"name": "uniform"}, "x", batch_size=8, num_steps=4
  )
  state = step.make_init(model, tx, sampler)(jax.random.key(0), pool)

  def darker(key, image):
    return image / 2

  def loss_and_params(pool, augment):
    steps = step.make_steps(model, tx, sampler, make_gather(), augment=augment)
    new, metrics = jax.jit(steps.measured)(state, pool, pool, ())
    return metrics.loss, new.params

  floats = pool._replace(
    source=pool.source._replace(image=pool.source.image / 255 / 2)
  )
  mine, theirs = loss_and_params(pool, darker), loss_and_params(floats, None)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), mine, theirs
  )


def test_by_name():
  assert specs.make("none", AUGMENTS, "augment") is None
  spec = "affine(flip=True, rotate=10)"
  assert callable(specs.make(spec, AUGMENTS, "augment"))
  for spec in ("afine", "affine(rotate=200)", "affine(scale=1.0)"):
    with pytest.raises(UserError):
      specs.make(spec, AUGMENTS, "augment")


@pytest.mark.parametrize(
  ("argument", "value"), [("rotate", 200), ("scale", 1.0), ("shift", -0.1)]
)
def test_values_out_of_range(argument, value):
  with pytest.raises(ValueError, match=argument):
    affine(**{argument: value})
