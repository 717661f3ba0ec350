"""Arrays of images: what is taken, and every mismatch told in a sentence."""

import hashlib

import numpy as np
import pytest

from alcurr.data import arrays
from alcurr.errors import UserError

IMAGES = np.arange(4 * 9, dtype=np.uint8).reshape(4, 3, 3)


def test_integer_and_string_labels():
  dataset = arrays.from_arrays(IMAGES, np.array([0, 1, 1, 0]))
  assert dataset.source.image.shape == (4, 3, 3, 1)
  assert dataset.class_names == ("0", "1")
  dataset = arrays.from_arrays(IMAGES, np.array(["dog", "cat", "cat", "dog"]))
  assert dataset.class_names == ("cat", "dog")
  assert dataset.label.tolist() == [1, 0, 0, 1]
  expected = hashlib.blake2b(IMAGES[2].tobytes(), digest_size=8).digest()
  assert dataset.key[2].tobytes() == expected


def test_floats_stay_floats():
  images = np.linspace(0, 1, 36).reshape(4, 3, 3)
  image = arrays.from_arrays(images, [0, 1, 0, 1]).source.image
  assert image.dtype == np.float32
  np.testing.assert_allclose(image[..., 0], images, rtol=1e-6)


@pytest.mark.parametrize(
  ("images", "labels", "message"),
  [
    (IMAGES[0], [0], r"got shape \[3, 3\]"),
    (IMAGES[:0], [], "not empty"),
    (IMAGES, [0, 1], "one for each of the 4 images"),
    (IMAGES, [[0], [1], [0], [1]], "one for each"),
    (IMAGES.astype(np.int32), [0, 1, 0, 1], "uint8 or float, got int32"),
    (IMAGES.astype(float), [0, 1, 0, 1], r"float images must be in \[0, 1\]"),
    (np.full((4, 3, 3), np.nan), [0, 1, 0, 1], r"must be in \[0, 1\]"),
    (IMAGES, [0, 1, 0, -1], "labels count from 0, got -1"),
    (IMAGES, [0.0, 1.0, 0.0, 1.0], "integers or strings, got float64"),
    (IMAGES, [0, 2, 0, 2], "class '1' has no example"),
  ],
)
def test_mismatches_are_told(images, labels, message):
  with pytest.raises(UserError, match=message):
    arrays.from_arrays(images, np.array(labels))


def test_class_names_must_cover_the_labels():
  with pytest.raises(UserError, match="label 1 has no name"):
    arrays.from_arrays(IMAGES, [0, 1, 0, 1], ["cat"])
  with pytest.raises(UserError, match="label 'dog' is not in class_names"):
    arrays.from_arrays(IMAGES, ["cat", "dog", "cat", "dog"], ["cat"])


def test_npz_files(tmp_path):
  path = tmp_path / "data.npz"
  np.savez(path, images=IMAGES, labels=[0, 1, 0, 1])
  np.testing.assert_array_equal(
    arrays.load_npz(path).source.image[..., 0], IMAGES
  )
  with pytest.raises(UserError, match="no such file"):
    arrays.load_npz(tmp_path / "none.npz")
  np.savez(path, images=IMAGES)
  with pytest.raises(UserError, match="must hold the arrays"):
    arrays.load_npz(path)
  np.savez(path, images=IMAGES, labels=np.array([0, 1, None, 1], object))
  with pytest.raises(
    UserError, match=r"not a whole \.npz file of plain arrays"
  ):
    arrays.load_npz(path)
  np.savez(path, images=IMAGES, labels=[0, 1, 0])
  with pytest.raises(
    UserError, match=r"data\.npz: labels must be one for each"
  ):
    arrays.load_npz(path)
  path.write_bytes(path.read_bytes()[:100])
  with pytest.raises(UserError, match="not a whole"):
    arrays.load_npz(path)


def test_bitmap_files(tmp_path):
  path = tmp_path / "full_numpy_bitmap_cat.npy"
  rows = np.arange(2 * 784).reshape(2, 784).astype(np.uint8)
  np.save(path, rows)
  np.testing.assert_array_equal(arrays.load_bitmap(path), rows)
  whole = path.read_bytes()
  for content, message in (
    (whole[:-1], "not a whole .npy"),
    (whole[:40], "not a whole .npy"),
    (b"", "not a whole .npy"),
    (b"PK nonsense", "not a whole .npy"),
  ):
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as raised:
      arrays.load_bitmap(path)
    assert path.name in str(raised.value)
  for array, message in (
    (np.array([{"a": 1}], object), "not a whole .npy"),
    (rows[:, :700], r"this is \[2, 700\] uint8"),
    (rows.astype(float), "float64"),
    (rows[:0], "holds no drawing"),
  ):
    np.save(path, array, allow_pickle=array.dtype == object)
    with pytest.raises(UserError, match=message):
      arrays.load_bitmap(path)
