"""Label noise: how many labels change, where, and to what."""

import numpy as np
import pytest

from alcurr.data import label_noise
from alcurr.data.arrays import from_arrays


def _dataset(num_examples=6000, num_classes=5):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 255, (num_examples, 2, 2), np.uint8)
  return from_arrays(images, np.arange(num_examples) % num_classes)


def test_the_share_is_hit_and_goes_evenly_to_the_other_classes():
  before = _dataset()
  after = label_noise.add_label_noise(before, 0.3, seed=1)
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
  one, two = (label_noise.add_label_noise(dataset, 0.3, seed=s) for s in (1, 2))
  assert (one.flags["planted"] != two.flags["planted"]).any()
  same = label_noise.add_label_noise(dataset, 0.0, seed=1)
  np.testing.assert_array_equal(same.label, dataset.label)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_impossible_shares_are_refused(fraction):
  with pytest.raises(ValueError, match="label_noise"):
    label_noise.add_label_noise(_dataset(50), fraction, seed=0)
