"""Folders of images, written by Pillow and by matplotlib."""

import matplotlib.image
import numpy as np
import pytest
from PIL import Image
from refusal import refused

from alcurr.data import image_folder


def _save(path, array):
  path.parent.mkdir(exist_ok=True)
  Image.fromarray(np.asarray(array, np.uint8)).save(path)


def test_images_as_they_were_written(tmp_path):
  """Grey PNGs of the requested size are read bit-identically."""
  rng = np.random.default_rng(0)
  drawn = rng.integers(0, 256, (2, 3, 5, 5), np.uint8)
  for name, images in zip(("cat", "dog"), drawn, strict=True):
    for i, image in enumerate(images):
      _save(tmp_path / name / f"{i}.png", image)
  (tmp_path / "cat" / "notes.txt").write_text("no image")
  (tmp_path / "README.md").write_text("no class")
  dataset = image_folder.load(tmp_path, image_size=5)
  assert dataset.class_names == ("cat", "dog")
  np.testing.assert_array_equal(dataset.label, [0, 0, 0, 1, 1, 1])
  np.testing.assert_array_equal(dataset.source.image, drawn.reshape(6, 5, 5, 1))
  few = image_folder.load(
    tmp_path, image_size=5, classes="dog,cat", max_per_class=1
  )
  np.testing.assert_array_equal(few.source.image[..., 0], drawn[:, 0])


def test_colours_and_grey_together_are_colours(tmp_path):
  _save(tmp_path / "a" / "0.png", np.full((4, 4), 77))
  red = np.zeros((4, 4, 3))
  red[..., 0] = 1.0
  (tmp_path / "b").mkdir()
  matplotlib.image.imsave(tmp_path / "b" / "0.png", red)
  image = image_folder.load(tmp_path, image_size=4).source.image
  assert image.shape == (2, 4, 4, 3)
  assert (image[0] == 77).all()
  np.testing.assert_array_equal(image[1], (255 * red).astype(np.uint8))


def test_wide_images_are_cropped(tmp_path):
  """The middle 4 x 4 of 12 x 4 stays."""
  wide = np.repeat([[10, 200, 60]], 4, axis=0).repeat(4, axis=1)
  for name in "ab":
    _save(tmp_path / name / "0.png", wide)
  image = image_folder.load(tmp_path, image_size=4).source.image
  np.testing.assert_array_equal(image, np.full((2, 4, 4, 1), 200))


def test_an_image_that_cannot_be_read(tmp_path):
  for name in "ab":
    for i in range(2):
      _save(tmp_path / name / f"{i}.png", np.full((4, 4), i))
  path = tmp_path / "b" / "0.png"
  path.write_bytes(path.read_bytes()[:40])
  with refused("damaged", path):
    image_folder.load(tmp_path, image_size=4)
  dataset = image_folder.load(tmp_path, image_size=4, on_error="skip")
  np.testing.assert_array_equal(dataset.label, [0, 0, 1])
  np.testing.assert_array_equal(dataset.source.image[:, 0, 0, 0], [0, 1, 1])


@pytest.mark.parametrize(
  ("folders", "code", "place"),
  [(None, "missing", ""), ((), "data", ""), (("a", "b"), "data", "a")],
)
def test_folders_without_images(tmp_path, folders, code, place):
  root = tmp_path / "images"
  if folders is not None:
    root.mkdir()
    for name in folders:
      (root / name).mkdir()
  with refused(code, root / place):
    image_folder.load(root, image_size=4)
