"""Arrays of images: what is accepted, and where each mismatch is found."""

import hashlib
import os
import tracemalloc

import numpy as np
import pytest
from refusal import refused

from alcurr.core.errors import UserError
from alcurr.data import array_files, arrays, image_folder

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


def test_a_file_of_sketch_rnn_is_refused_with_a_remedy(tmp_path):
  """Its drawings are pickled, which is never read."""
  drawings = np.empty(3, object)
  drawings[:] = [np.ones((i + 2, 3), np.int16) for i in range(3)]
  path = tmp_path / "cat.npz"
  np.savez(path, train=drawings, valid=drawings, test=drawings)
  with refused("damaged", path) as raised:
    array_files.load_npz(path)
  assert ".ndjson" in raised.value.text


@pytest.mark.parametrize("load", [array_files.load_npz, image_folder.load])
def test_a_direct_call_expands_the_home_folder(load, tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  options = {"image_size": 8} if load is image_folder.load else {}
  with refused("missing", tmp_path / "images"):
    load("~/images", **options)


@pytest.mark.parametrize(
  ("images", "labels", "place"),
  [
    (IMAGES[0, 0], [0], "inputs"),
    (IMAGES[:0], [], "inputs"),
    (IMAGES, [0, 1], "labels"),
    (IMAGES, [[0, 1], [1, 1], [0, 1], [1, 0]], "labels"),
    (IMAGES + np.int32(256), [0, 1, 0, 1], "inputs"),
    (IMAGES.astype(float), [0, 1, 0, 1], "inputs"),
    (np.full((4, 3, 3), np.nan), [0, 1, 0, 1], "inputs"),
    (np.full((4, 3, 3), np.inf), [0, 1, 0, 1], "inputs"),
    (np.full((4, 3, 3), 1 + 1e-12), [0, 1, 0, 1], "inputs"),
    ([[[1, 2]], [[1]]], [0, 1], "inputs"),
    (["a cat", "a dog"], [0, 1], "inputs"),
    ([[[[0, 9], [1, 2]]], [[[0], [1]]] * 2], [0, 1], "inputs"),  # strokes
    (IMAGES, [0, 1, 0, -1], "labels"),
    (IMAGES, [0.0, 0.5, 0.0, 1.0], "labels"),
    (IMAGES, [0, np.nan, 0, 1], "labels"),
    (IMAGES, [0, 0, 0, 0], "classes"),
    (IMAGES, ["a", "a\n", "a", "a"], "classes"),
  ],
)
def test_mismatches_are_refused(images, labels, place):
  with refused("data", place):
    arrays.from_arrays(images, np.array(labels))


@pytest.mark.parametrize(
  ("labels", "names", "place"),
  [
    ([0, 1, 0, 1], ["cat"], "labels"),
    (["cat", "dog", "cat", "dog"], ["cat"], "labels"),
    ([0, 1, 0, 1], ["cat", "dog", "cow"], "labels"),
    ([0, 1, 0, 1], ["cat", "cat"], "class_names"),
  ],
)
def test_class_names_must_cover_the_labels(labels, names, place):
  with refused("data", place):
    arrays.from_arrays(IMAGES, labels, names)


def test_a_stray_large_label_costs_no_memory():
  tracemalloc.start()
  dataset = arrays.from_arrays(IMAGES, [0, 1, 0, 10**6])
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert dataset.class_names == ("0", "1", "1000000")
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
    array_files.load_npz(path).source.image[..., 0], IMAGES
  )
  with refused("missing", tmp_path / "none.npz"):
    array_files.load_npz(tmp_path / "none.npz")
  for image, label in (("image", "label"), ("x", "y"), ("images", "y")):
    np.savez(path, **{image: IMAGES, label: [0, 1, 1, 0]})
    dataset = array_files.load_npz(path)
    np.testing.assert_array_equal(dataset.source.image[..., 0], IMAGES)
    assert dataset.label.tolist() == [0, 1, 1, 0]
  np.savez(path, images=IMAGES, classes=[0, 1, 1, 0])
  with refused("data", path):
    array_files.load_npz(path)
  np.savez(path, images=IMAGES, labels=np.array([0, 1, None, 1], object))
  with refused("damaged", path):
    array_files.load_npz(path)
  np.savez(path, images=IMAGES, labels=[0, 1, 0])
  with refused("data", path) as error:
    array_files.load_npz(path)
  assert error.value.text.startswith("labels: ")
  path.write_bytes(path.read_bytes()[:100])
  with refused("damaged", path):
    array_files.load_npz(path)
  np.save(tmp_path / "one.npy", IMAGES)
  with refused("damaged", tmp_path / "one.npy"):
    array_files.load_npz(tmp_path / "one.npy")


@pytest.mark.parametrize(
  "names",
  [
    ("x_train", "y_train", "x_test", "y_test"),  # Keras
    ("train_images", "train_labels", "test_images", "test_labels"),  # MedMNIST
    ("X", "y", "X_more", "y_more"),
  ],
)
def test_the_training_part_of_an_archive_is_read(tmp_path, names):
  path = tmp_path / "data.npz"
  labels = np.array([[5], [7], [5], [7]])
  values = (IMAGES, labels, IMAGES[::-1], labels)
  np.savez_compressed(path, **dict(zip(names, values, strict=True)))
  dataset = array_files.load_npz(path)
  np.testing.assert_array_equal(dataset.source.image[..., 0], IMAGES)
  assert dataset.class_names == ("5", "7")
  assert dataset.label.tolist() == [0, 1, 0, 1]
  # Two arrays that may be the images.
  np.savez(path, images=IMAGES, **dict(zip(names, values, strict=True)))
  with refused("data", path):
    array_files.load_npz(path)


def test_class_names_of_an_archive(tmp_path):
  path = tmp_path / "data.npz"
  names = np.array(["dog", "cat"])
  np.savez(path, images=IMAGES, labels=[0, 1, 1, 0], class_names=names)
  assert array_files.load_npz(path).class_names == ("dog", "cat")


def test_the_size_of_an_archive_is_read_from_its_headers(tmp_path):
  path = tmp_path / "data.npz"
  images = np.zeros((2048, 64, 64), np.uint8)
  images[0] = 255
  labels = np.arange(2048) % 2
  np.savez_compressed(path, images=images, labels=labels)
  assert path.stat().st_size < images.nbytes / 100
  tracemalloc.start()
  with refused("data", path):
    array_files.load_npz(path, max_bytes=images.nbytes)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < images.nbytes / 8
  array_files.load_npz(path, max_bytes=images.nbytes + labels.nbytes + 1000)
  # What takes as much on disk is no surprise in memory.
  np.savez(path, images=images, labels=labels)
  array_files.load_npz(path, max_bytes=1)


def test_only_regular_files_are_opened(tmp_path):
  for name, read in (
    ("a.npz", array_files.load_npz),
    ("full_numpy_bitmap_a.npy", array_files.load_bitmap),
  ):
    os.mkfifo(tmp_path / name)
    (tmp_path / f"zero_{name}").symlink_to("/dev/zero")
    for path in (tmp_path / name, tmp_path / f"zero_{name}"):
      with refused("data", path):
        read(path)


def test_images_that_are_equal_or_dark_are_refused(tmp_path):
  same = np.repeat(IMAGES[:1], 4, 0)
  dark = (IMAGES % 2, IMAGES % 17, IMAGES / 255**2)
  for images in (same, same * 0, same / 255, *dark):
    with refused("data", "inputs"):
      arrays.from_arrays(images, [0, 1, 0, 1])
  for images, white in zip(dark, (1, 16, 1), strict=True):
    options = {"value_range": (0, white)}
    image = arrays.from_arrays(images, [0, 1, 0, 1], **options).source.image
    np.testing.assert_allclose(image[..., 0], images / white, rtol=1e-6)
    path = array_files.save_npz(images, [0, 1, 0, 1], tmp_path, **options)
    loaded = array_files.load_npz(path, **options).source.image
    np.testing.assert_array_equal(loaded, image)


def test_a_damaged_npz_is_refused_or_whole(tmp_path):
  """One byte changed anywhere: never another exception, or other data."""
  path = tmp_path / "data.npz"
  images = np.random.default_rng(0).integers(0, 256, (20, 5, 5), np.uint8)
  np.savez_compressed(path, images=images, labels=np.arange(20) % 2)
  whole = path.read_bytes()
  for i in range(0, len(whole), 3):
    path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x5A]) + whole[i + 1 :])
    try:
      dataset = array_files.load_npz(path)
    except UserError as error:
      assert error.code in ("damaged", "data")
      continue
    np.testing.assert_array_equal(dataset.source.image[..., 0], images)
    assert dataset.label.tolist() == [0, 1] * 10


def test_bitmap_files(tmp_path):
  path = tmp_path / "full_numpy_bitmap_cat.npy"
  rows = np.arange(2 * 784).reshape(2, 784).astype(np.uint8)
  np.save(path, rows)
  np.testing.assert_array_equal(array_files.load_bitmap(path), rows)
  whole = path.read_bytes()
  for content in (
    whole[:-1],
    whole[:40],
    b"",
    b"PK nonsense",
    whole.replace(b"}", b"("),
  ):
    path.write_bytes(content)
    with refused("damaged", path):
      array_files.load_bitmap(path)
  for array, code in (
    (np.array([{"a": 1}], object), "damaged"),
    (rows[:, :700], "data"),
    (rows.astype(float), "data"),
    (rows[:0], "data"),
  ):
    np.save(path, array, allow_pickle=array.dtype == object)
    with refused(code, path):
      array_files.load_bitmap(path)
  with path.open("wb") as file:
    np.savez(file, rows)
  with refused("damaged", path):
    array_files.load_bitmap(path)


def test_a_saved_file_is_found_again_by_its_content(tmp_path):
  labels = np.array([0, 1, 0, 1])
  path = array_files.save_npz(IMAGES, labels, tmp_path / "new")
  np.testing.assert_array_equal(
    array_files.load_npz(path).source.image[..., 0], IMAGES
  )
  before = path.stat().st_mtime_ns
  assert array_files.save_npz(IMAGES, labels, tmp_path / "new") == path
  assert path.stat().st_mtime_ns == before
  assert array_files.save_npz(IMAGES, 1 - labels, tmp_path / "new") != path


def test_a_class_has_one_spelling_in_all_groups():
  """Letters are both in one group, and given names are as they are."""
  labels, images = ["cat", "dog", "Cat", "dog"], IMAGES
  with refused("data", "labels"):
    arrays.from_arrays(images, labels, groups=["a", "a", "b", "b"])
  names = ["cat", "Cat", "dog"]
  arrays.from_arrays(images, labels, names, groups=["a", "a", "b", "b"])
  arrays.from_arrays(images, labels, groups=["a", "a", "a", "b"])
  arrays.from_arrays(images, labels)
