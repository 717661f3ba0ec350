"""Planted difficulties: what changes, how often, and to what."""

import numpy as np
import pytest

from alcurr.data import planted as planting
from alcurr.data.arrays import from_arrays


def _dataset(num_examples=6000, num_classes=5):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 255, (num_examples, 2, 2), np.uint8)
  return from_arrays(images, np.arange(num_examples) % num_classes)


def test_the_share_is_hit_and_goes_evenly_to_the_other_classes():
  before = _dataset()
  after = planting.add_label_noise(before, 0.3, seed=1)
  planted = after.flags["planted"]
  np.testing.assert_array_equal(planted, before.label != after.label)
  error = np.sqrt(0.3 * 0.7 / 6000)
  assert planted.mean() == pytest.approx(0.3, abs=4 * error)
  shift = (after.label - before.label)[planted] % 5
  share = np.bincount(shift, minlength=5) / planted.sum()
  np.testing.assert_allclose(share, [0, 0.25, 0.25, 0.25, 0.25], atol=0.05)
  assert after.label.dtype == np.int32


def test_another_seed_hits_others_and_none_hits_none():
  dataset = _dataset()
  one, two = (planting.add_label_noise(dataset, 0.3, seed=s) for s in (1, 2))
  assert (one.flags["planted"] != two.flags["planted"]).any()
  same = planting.add_label_noise(dataset, 0.0, seed=1)
  np.testing.assert_array_equal(same.label, dataset.label)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_impossible_shares_are_refused(fraction):
  with pytest.raises(ValueError, match="label_noise"):
    planting.add_label_noise(_dataset(50), fraction, seed=0)


def test_pairs_are_of_the_next_class():
  before = _dataset()
  after = planting.add_label_noise(before, 0.3, seed=1, kind="pairs")
  planted = after.flags["planted"]
  assert planted.mean() == pytest.approx(0.3, abs=0.03)
  expected = np.where(planted, (before.label + 1) % 5, before.label)
  np.testing.assert_array_equal(after.label, expected)
  with pytest.raises(ValueError, match="kind"):
    planting.add_label_noise(before, 0.3, seed=1, kind="paris")


@pytest.mark.parametrize("ratio", [1, 7, 50, 1e6])
def test_an_imbalance_has_geometric_sizes_and_is_nested(ratio):
  before = _dataset()
  after = planting.imbalance(before, ratio)
  size = np.bincount(after.label, minlength=5)
  expected = 1200 / ratio ** (np.arange(5) / 4)
  np.testing.assert_allclose(size, np.maximum(expected, 1), atol=0.5)
  assert np.isin(after.key, before.key).all()
  assert np.isin(planting.imbalance(before, 2 * ratio).key, after.key).all()


def test_copies_are_of_every_example():
  before = _dataset(50)
  after = planting.copies(before, 4)
  key, count = np.unique(after.key, return_counts=True)
  np.testing.assert_array_equal(key, np.unique(before.key))
  assert (count == 4).all() and len(after.label) == 200


@pytest.mark.parametrize(
  ("call", "value"), [("imbalance", 0.5), ("imbalance", np.inf), ("copies", 0)]
)
def test_less_than_nothing_is_refused(call, value):
  with pytest.raises(ValueError, match=call):
    getattr(planting, call)(_dataset(50), value)
