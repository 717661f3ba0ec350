"""Images of policies against the colours of their probabilities."""

import matplotlib
import numpy as np
import saved

from alcurr.experiments.loggers import pictures
from alcurr.report import gallery


def _color(share):
  return matplotlib.colormaps["viridis"](share, bytes=True)[:3]


def test_widths_are_examples_and_an_even_policy_is_the_middle_colour():
  policy = np.array([[0.5, 0.5], [0.75, 0.25]])
  image = pictures.draw_policy([300, 400], policy)
  assert image.shape == (300, 600, 3) and image.dtype == np.uint8
  # The first arm is at the bottom; the top colour is 1, twice an even share.
  for x, shares in ((0, (0.5, 0.5)), (449, (0.5, 0.5)), (450, (0.75, 0.25))):
    assert (image[299, x] == _color(shares[0])).all()
    assert (image[0, x] == _color(shares[1])).all()
    assert (image[149, x] == image[0, x]).all()
    assert (image[150, x] == image[299, x]).all()


def test_drawings_of_each_arm_are_at_the_left_of_its_row():
  strips = [np.full((5, 7, 3), shade, np.uint8) for shade in (10, 20)]
  image = pictures.draw_policy([1], np.array([[0.5, 0.5]]), strips)
  assert image.shape == (10, 7 + 600, 3)
  assert (image[5:, :7] == 10).all() and (image[:5, :7] == 20).all()


def test_a_long_run_needs_no_more_memory_and_looks_the_same(tmp_path):
  """Five times as many chunks as pixels."""
  workdir = saved.write(tmp_path / "it")
  long = pictures.PolicyMap(workdir, "bandit", None)
  count = 5 * pictures.WIDTH
  share = (np.arange(count) + 0.5) / count
  for i in range(count):
    row = {"examples_seen": 8 * (i + 1), "policy": [1 - share[i], share[i]]}
    long.add(row)
  assert len(long._policy) == len(long._ends) < 2 * pictures.WIDTH
  exact = pictures.draw_policy(
    8 * (np.arange(count) + 1), np.stack([1 - share, share], axis=1)
  )
  difference = np.abs(long.draw().astype(int) - exact.astype(int))
  assert difference.max() <= 4


def test_an_unfinished_run_shows_the_drawings_of_its_arms(tmp_path):
  workdir = saved.write(tmp_path / "it")
  (workdir / "runs/bandit/result.json").unlink()
  policy = pictures.PolicyMap(workdir, "bandit", gallery.read_gallery(workdir))
  for step, share in enumerate((0.4, 0.6), start=1):
    policy.add({"examples_seen": step, "policy": [0.2, 0.8 - share, share]})
  assert policy.draw().shape[1] > pictures.WIDTH


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
