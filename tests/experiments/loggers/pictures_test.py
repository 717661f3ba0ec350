"""Images of policies against the colours of their probabilities."""

import matplotlib
import numpy as np
import pytest
import saved

from alcurr.experiments.loggers import pictures
from alcurr.report import gallery


def _color(share):
  return matplotlib.colormaps["viridis"](share, bytes=True)[:3]


def _has(image, share, tolerance=1):
  """Returns the pixels of a share's colour, give or take rounding: [h, w]."""
  difference = np.abs(image.astype(int) - _color(share)).max(-1)
  return difference <= tolerance


def test_widths_are_examples_and_an_even_policy_is_the_middle_colour():
  """Between axes with numbers, and beside a bar of colours."""
  policy = np.array([[0.5, 0.5], [0.75, 0.25]])
  image = pictures.draw_policy([300, 400], policy, "bandit")
  assert image.ndim == 3 and image.dtype == np.uint8
  # The top colour is 1, twice an even share; each arm has half of the height.
  even, most, least = (_has(image, share) for share in (0.5, 0.75, 0.25))
  assert even.sum() / most.sum() == pytest.approx(6, rel=0.1)
  assert even.sum() / least.sum() == pytest.approx(6, rel=0.1)
  # The first arm is the lower one.
  assert np.argwhere(most)[:, 0].mean() > np.argwhere(least)[:, 0].mean()
  # All colours are in the bar, and numbers are grey on white.
  shares = np.linspace(0.05, 0.95, 19)
  assert all(_has(image, x, tolerance=9).sum() > 20 for x in shares)
  is_grey = (np.ptp(image.astype(int), axis=-1) < 10) & (image[..., 0] < 200)
  assert is_grey.sum() > 500


def test_a_long_run_needs_no_more_memory_and_looks_the_same(tmp_path):
  """Five times as many chunks as points of time."""
  workdir = saved.write(tmp_path / "it")
  long = pictures.PolicyMap(workdir, "bandit", None)
  count = 5 * pictures.WIDTH
  share = (np.arange(count) + 0.5) / count
  for i in range(count):
    row = {"examples_seen": 8 * (i + 1), "policy": [1 - share[i], share[i]]}
    long.add(row)
  assert len(long._policy) == len(long._ends) < 2 * pictures.WIDTH
  exact = pictures.draw_policy(
    8 * (np.arange(count) + 1), np.stack([1 - share, share], axis=1), "bandit"
  )
  found = long.draw()
  assert found.shape == exact.shape
  difference = np.abs(found.astype(int) - exact.astype(int))
  assert np.percentile(difference, 98) <= 8  # but for the names of axes


def test_an_unfinished_run_shows_the_drawings_of_its_arms(tmp_path):
  workdir = saved.write(tmp_path / "it")
  (workdir / "runs/bandit/result.json").unlink()
  widths = []
  for own in (None, gallery.read_gallery(workdir)):
    policy = pictures.PolicyMap(workdir, "bandit", own)
    for step, share in enumerate((0.4, 0.6), start=1):
      policy.add({"examples_seen": step, "policy": [0.2, 0.8 - share, share]})
    widths.append(policy.draw().shape[1])
  assert widths[1] > widths[0]


def test_a_constant_policy_has_no_image(tmp_path):
  still = pictures.PolicyMap(tmp_path, "x", None)
  assert still.draw() is None
  for step in (1, 2):
    still.add({"examples_seen": step, "policy": [0.5, 0.5]})
  assert still.draw() is None


def test_a_sampler_without_arms_has_no_image(tmp_path):
  policy = pictures.PolicyMap(tmp_path, "x", None)
  policy.add({"examples_seen": 8})
  assert policy.draw() is None


def test_drawings_of_a_class_the_easiest_above_the_hardest(tmp_path):
  workdir = saved.write(tmp_path / "it")
  images = pictures.draw_classes(gallery.read_gallery(workdir))
  assert list(images) == saved.CLASSES
  with np.load(workdir / "gallery.npz") as file:
    image = file["image"]
  # One drawing of each kind and class, with a rim, ink on white.
  for label, name in enumerate(saved.CLASSES):
    assert images[name].shape == (2 * 8, 8 * 8, 3)
    for top, number in ((0, label), (8, label + 2)):
      part = images[name][top + 1 : top + 7, 1:7]
      assert (part == 255 - image[number]).all()
  assert pictures.draw_classes(None) == {}
