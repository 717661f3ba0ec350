"""Splits by hash: disjoint, stratified, stable; batches from either source."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alcurr.data import pool, render
from alcurr.data.arrays import from_arrays
from alcurr.data.quickdraw import synthetic


def test_splits_are_disjoint_stratified_and_complete():
  dataset = synthetic.make_synthetic(9000, num_classes=3)
  parts = pool.split(dataset, 0.1, 0.2)
  keys = [set(part.key.tolist()) for part in parts.values()]
  assert sum(map(len, keys)) == len(set.union(*keys)) == 9000
  for name, fraction in (("valid", 0.1), ("test", 0.2), ("train", 0.7)):
    share = np.bincount(parts[name].label) / np.bincount(dataset.label)
    error = np.sqrt(fraction * (1 - fraction) / 3000)
    np.testing.assert_allclose(share, fraction, atol=4 * error)
    for flag in dataset.flags:
      assert len(parts[name].flags[flag]) == len(parts[name].label)


def test_splits_are_stable_when_data_is_added():
  dataset = synthetic.make_synthetic(3000, num_classes=3)
  some = pool.take(dataset, np.arange(0, 3000, 2))
  before = pool.split(some, 0.1, 0.2)
  after = pool.split(dataset, 0.1, 0.2)
  for name in before:
    assert set(before[name].key.tolist()) <= set(after[name].key.tolist())


def test_equal_content_stays_on_one_side():
  images = np.random.default_rng(0).integers(0, 255, (400, 4, 4), np.uint8)
  dataset = from_arrays(np.tile(images, (2, 1, 1)), np.arange(800) % 2)
  parts = pool.split(dataset, 0.2, 0.2)
  keys = [set(part.key.tolist()) for part in parts.values()]
  assert sum(map(len, keys)) == len(set.union(*keys)) == 400


@pytest.mark.parametrize("fractions", [(0, 0.1), (0.1, 0), (0.5, 0.5)])
def test_fractions_must_leave_something_everywhere(fractions):
  with pytest.raises(ValueError, match="valid_fraction"):
    pool.split(synthetic.make_synthetic(100), *fractions)


def test_a_class_missing_in_a_split_is_named():
  dataset = synthetic.make_synthetic(40, num_classes=20)
  with pytest.raises(ValueError, match="class '"):
    pool.split(dataset, 0.1, 0.1)


def test_batches_of_images_and_of_strokes_are_the_same():
  dataset = synthetic.make_synthetic(60, num_classes=2)
  draw = render.make_render(size=12)
  gather = pool.make_gather(draw)
  ahead = dataset._replace(
    source=pool.Images(render.render_all(dataset.source, draw))
  )
  index = jnp.array([5, 5, 59, 0])
  in_step = jax.jit(gather)(pool.make_pool(dataset), index)
  stored = jax.jit(gather)(pool.make_pool(ahead), index)
  assert in_step.image.shape == (4, 12, 12, 1)
  np.testing.assert_allclose(in_step.image, stored.image, atol=1e-6)
  np.testing.assert_array_equal(in_step.label, dataset.label[np.asarray(index)])


def test_strokes_without_a_renderer_are_refused():
  dataset = synthetic.make_synthetic(60, num_classes=2)
  with pytest.raises(ValueError, match="needs a render function"):
    pool.make_gather()(pool.make_pool(dataset), jnp.array([0]))


def test_concatenated_strokes_render_as_they_did_apart():
  dataset = synthetic.make_synthetic(60, num_classes=3)
  first, second = (
    pool.take(dataset, index) for index in (np.arange(25), np.arange(25, 60))
  )
  both = pool.concatenate(first, second)
  for mine, theirs in zip(both.source, dataset.source, strict=True):
    np.testing.assert_array_equal(mine, theirs)
    assert mine.dtype == theirs.dtype
  np.testing.assert_array_equal(both.label, dataset.label)
  np.testing.assert_array_equal(both.key, dataset.key)
  for name, flag in dataset.flags.items():
    np.testing.assert_array_equal(both.flags[name], flag)


def test_a_probe_split_is_taken_from_the_training_data_alone():
  dataset = synthetic.make_synthetic(3000, num_classes=3)
  without = pool.split(dataset, 0.1, 0.2)
  parts = pool.split(dataset, 0.1, 0.2, 0.1)
  for name in ("valid", "test"):
    np.testing.assert_array_equal(parts[name].key, without[name].key)
  keys = [set(parts[name].key.tolist()) for name in ("train", "probe")]
  assert not keys[0] & keys[1]
  assert keys[0] | keys[1] == set(without["train"].key.tolist())
  error = np.sqrt(0.1 * 0.9 / 3000)
  assert len(keys[1]) / 3000 == pytest.approx(0.1, abs=4 * error)
