"""Splits by hash: disjoint, stratified, stable; batches from either source."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alcurr.data import pool, render, splitting
from alcurr.data.arrays import from_arrays
from alcurr.data.quickdraw import synthetic


def test_splits_are_disjoint_stratified_and_complete():
  dataset = synthetic.make_synthetic(9000, num_classes=3)
  parts = splitting.split(dataset, 0.1, 0.2)
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
  before = splitting.split(some, 0.1, 0.2)
  after = splitting.split(dataset, 0.1, 0.2)
  for name in before:
    assert set(before[name].key.tolist()) <= set(after[name].key.tolist())


def test_equal_content_stays_on_one_side():
  images = np.random.default_rng(0).integers(0, 255, (400, 4, 4), np.uint8)
  dataset = from_arrays(np.tile(images, (2, 1, 1)), np.arange(800) % 2)
  parts = splitting.split(dataset, 0.2, 0.2)
  keys = [set(part.key.tolist()) for part in parts.values()]
  assert sum(map(len, keys)) == len(set.union(*keys)) == 400


@pytest.mark.parametrize("fractions", [(0, 0.1), (0.1, 0), (0.5, 0.5)])
def test_fractions_must_leave_something_everywhere(fractions):
  with pytest.raises(ValueError, match="valid_fraction"):
    splitting.split(synthetic.make_synthetic(100), *fractions)


def _labelled(*counts, seed=0):
  """Makes a dataset of random images with a number of examples per class."""
  label = np.repeat(np.arange(len(counts)), counts)
  rng = np.random.default_rng(seed)
  image = rng.integers(0, 255, (len(label), 4, 4), np.uint8)
  return from_arrays(image, label)


def _counts(parts):
  """Returns the examples of each class in each split."""
  size = {n: np.bincount(p.label, minlength=99) for n, p in parts.items()}
  return {name: count.tolist() for name, count in size.items()}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("probe", [0.0, 0.05])
def test_rare_classes_have_examples_wherever_they_can(seed, probe):
  rare = range(1, 13)
  dataset = _labelled(*rare, 500, seed=seed)
  parts = splitting.split(dataset, 0.05, 0.2, probe)
  counts = _counts(parts)
  assert sum(map(sum, counts.values())) == len(dataset.label)
  names = ["train", "test", "valid", *(["probe"] if probe else [])]
  for label, size in enumerate(rare):
    for name in names[:size]:
      assert counts[name][label] > 0


def test_splits_that_have_every_class_are_by_the_hash_alone():
  dataset = synthetic.make_synthetic(3000, num_classes=3)
  share = (dataset.key >> np.uint64(11)) * 2.0**-53
  parts = splitting.split(dataset, 0.1, 0.2, 0.1)
  for name, low, high in (
    ("valid", 0, 0.1),
    ("test", 0.1, 0.3),
    ("train", 0.3, 0.9),
    ("probe", 0.9, 1),
  ):
    expected = dataset.key[(low <= share) & (share < high)]
    np.testing.assert_array_equal(parts[name].key, expected)


def test_a_split_with_rare_classes_ignores_the_order():
  dataset = _labelled(2, 3, 5, 100)
  order = np.random.default_rng(1).permutation(len(dataset.label))
  first, second = (
    splitting.split(d, 0.1, 0.2) for d in (dataset, pool.take(dataset, order))
  )
  for name in first:
    assert set(first[name].key) == set(second[name].key)


def test_common_classes_do_not_move_when_a_rare_one_is_added():
  dataset = _labelled(300, 300, 3)
  before = splitting.split(pool.take(dataset, np.arange(600)), 0.1, 0.2)
  after = splitting.split(dataset, 0.1, 0.2)
  for name in before:
    assert set(before[name].key) <= set(after[name].key)


def test_alike_images_of_a_class_are_trained_on(caplog):
  dataset = _labelled(200, 50)
  image = dataset.source.image.copy()
  image[200:] = 7
  dataset = from_arrays(image, dataset.label)
  with caplog.at_level("WARNING"):
    counts = _counts(splitting.split(dataset, 0.1, 0.2))
  assert [counts[n][1] for n in ("train", "valid", "test")] == [50, 0, 0]
  told = " ".join(record.getMessage() for record in caplog.records)
  assert "split valid" in told and "split test" in told and "'1'" in told


def test_an_image_of_two_classes_stays_on_one_side():
  """Its classes are rare, or one of them is."""
  for sizes in ((3, 3), (3, 300)):
    dataset = _labelled(*sizes, 300)
    image = dataset.source.image.copy()
    image[sizes[0]] = image[0]
    dataset = from_arrays(image, dataset.label)
    parts = splitting.split(dataset, 0.1, 0.2)
    keys = [set(part.key.tolist()) for part in parts.values()]
    assert sum(map(len, keys)) == len(set.union(*keys))


def test_an_empty_split_is_refused():
  with pytest.raises(ValueError, match="is empty"):
    splitting.split(_labelled(1, 1), 0.1, 0.1)


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
  assert in_step.inputs.shape == (4, 12, 12, 1)
  np.testing.assert_allclose(in_step.inputs, stored.inputs, atol=1e-6)
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
  without = splitting.split(dataset, 0.1, 0.2)
  parts = splitting.split(dataset, 0.1, 0.2, 0.1)
  for name in ("valid", "test"):
    np.testing.assert_array_equal(parts[name].key, without[name].key)
  keys = [set(parts[name].key.tolist()) for name in ("train", "probe")]
  assert not keys[0] & keys[1]
  assert keys[0] | keys[1] == set(without["train"].key.tolist())
  error = np.sqrt(0.1 * 0.9 / 3000)
  assert len(keys[1]) / 3000 == pytest.approx(0.1, abs=4 * error)
