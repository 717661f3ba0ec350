"""Arrays of images: what is taken, and every mismatch told in a sentence."""

import hashlib
import tracemalloc

import numpy as np
import pytest

from alcurr.core.errors import UserError
from alcurr.data import arrays

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
    (np.full((4, 3, 3), np.nan), [0, 1, 0, 1], "images hold NaN"),
    (np.full((4, 3, 3), np.inf), [0, 1, 0, 1], r"in \[0, 1\], got inf"),
    (np.full((4, 3, 3), 1 + 1e-12), [0, 1, 0, 1], r"must be in \[0, 1\]"),
    ([[[1, 2]], [[1]]], [0, 1], "images must all have one shape"),
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
  with pytest.raises(UserError, match="class 'cow' has no example"):
    arrays.from_arrays(IMAGES, [0, 1, 0, 1], ["cat", "dog", "cow"])
  with pytest.raises(UserError, match="must differ"):
    arrays.from_arrays(IMAGES, [0, 1, 0, 1], ["cat", "cat"])


def test_a_stray_large_label_costs_no_memory():
  tracemalloc.start()
  with pytest.raises(UserError, match="class '2' has no example"):
    arrays.from_arrays(IMAGES, [0, 1, 0, 10**6])
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < 1e6  # a name for each class up to it would be 50 MB


def test_names_give_string_labels_their_order():
  labels = np.array(["dog", "cat", "cat", "dog"])
  dataset = arrays.from_arrays(IMAGES, labels, ["dog", "cat"])
  assert dataset.class_names == ("dog", "cat")
  assert dataset.label.tolist() == [0, 1, 1, 0]


def test_labels_of_bytes_stay_apart():
  labels = np.array([b"caf\xc3\xa9", b"\xff", b"\xfe", b"\xff"])
  dataset = arrays.from_arrays(IMAGES, labels)
  assert "café" in dataset.class_names and len(dataset.class_names) == 3
  assert dataset.label[1] == dataset.label[3] != dataset.label[2]


def test_npz_files(tmp_path):
  path = tmp_path / "data.npz"
  np.savez(path, images=IMAGES, labels=[0, 1, 0, 1])
  np.testing.assert_array_equal(
    arrays.load_npz(path).source.image[..., 0], IMAGES
  )
  with pytest.raises(UserError, match="no such file"):
    arrays.load_npz(tmp_path / "none.npz")
  for image, label in (("image", "label"), ("x", "y"), ("images", "y")):
    np.savez(path, **{image: IMAGES, label: [0, 1, 1, 0]})
    dataset = arrays.load_npz(path)
    np.testing.assert_array_equal(dataset.source.image[..., 0], IMAGES)
    assert dataset.label.tolist() == [0, 1, 1, 0]
  np.savez(path, images=IMAGES, target=[0, 1, 1, 0])
  with pytest.raises(UserError, match=r"must hold .* holds images, target"):
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
  np.save(tmp_path / "one.npy", IMAGES)
  with pytest.raises(UserError, match="it is one array"):
    arrays.load_npz(tmp_path / "one.npy")


def test_a_damaged_npz_is_refused_or_whole(tmp_path):
  """One byte changed anywhere: never another exception, or other data."""
  path = tmp_path / "data.npz"
  images = np.random.default_rng(0).integers(0, 256, (20, 5, 5), np.uint8)
  np.savez_compressed(path, images=images, labels=np.arange(20) % 2)
  whole = path.read_bytes()
  for i in range(0, len(whole), 3):
    path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x5A]) + whole[i + 1 :])
    try:
      dataset = arrays.load_npz(path)
    except UserError:
      continue
    np.testing.assert_array_equal(dataset.source.image[..., 0], images)
    assert dataset.label.tolist() == [0, 1] * 10


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
    (whole.replace(b"}", b"("), "not a whole .npy"),
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
  with path.open("wb") as file:
    np.savez(file, rows)
  with pytest.raises(UserError, match=r"not a whole \.npy"):
    arrays.load_bitmap(path)
