"""Folders of images, written by Pillow and by matplotlib."""

import os
import struct
import zlib

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
  paths = [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(3)]
  assert dataset.paths.tolist() == paths
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
  for i, name in enumerate("ab"):
    _save(tmp_path / name / "0.png", wide + i)
  image = image_folder.load(tmp_path, image_size=4).source.image
  np.testing.assert_array_equal(image[0], np.full((4, 4, 1), 200))
  np.testing.assert_array_equal(image[1], np.full((4, 4, 1), 201))


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


def _classes(folder, **images):
  """Saves images, by the names of their classes, as 0.png."""
  for name, image in images.items():
    (folder / name).mkdir(exist_ok=True)
    image.save(folder / name / "0.png")


def _inks(mode="RGBA", ink=0):
  """Returns two images of ink on transparent black, with smooth edges."""
  rng = np.random.default_rng(0)
  alpha = rng.integers(0, 256, (2, 4, 4), np.uint8)
  grey = np.full_like(alpha, ink) * (alpha > 0)
  layers = (grey,) * (len(mode) - 1)
  pixels = np.stack([*layers, alpha], -1)
  return [Image.fromarray(x) for x in pixels], alpha


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_images_are_composed_over_a_background(tmp_path, mode):
  (a, b), alpha = _inks(mode)
  _classes(tmp_path, a=a, b=b)
  image = image_folder.load(tmp_path, image_size=4).source.image
  assert image.shape[-1] == len(mode) - 1
  np.testing.assert_allclose(image[..., 0], 255 - alpha.astype(int), atol=1)
  (a, b), alpha = _inks(mode, ink=255)
  _classes(tmp_path, a=a, b=b)
  # White ink on clear cannot be seen over white.
  with refused("damaged", tmp_path / "a" / "0.png"):
    image_folder.load(tmp_path, image_size=4)
  image = image_folder.load(
    tmp_path, image_size=4, background="#000000"
  ).source.image
  np.testing.assert_allclose(image[..., 0], alpha, atol=1)
  with refused("syntax", "background"):
    image_folder.load(tmp_path, image_size=4, background="ink")


def test_transparent_palettes_and_colours(tmp_path):
  """A GIF's and a PNG's single transparent colour show the background."""
  pixels = np.array([[0, 1], [1, 1]], np.uint8)
  palette = Image.fromarray(pixels, "P")
  palette.putpalette([9, 9, 9, 250, 100, 0])
  _classes(tmp_path, a=palette, b=Image.new("RGB", (2, 2)))
  palette.save(tmp_path / "a" / "0.png", transparency=0)
  Image.fromarray(pixels[::-1] * np.uint8(99)).save(
    tmp_path / "b" / "0.png", transparency=0
  )
  image = image_folder.load(tmp_path, image_size=2).source.image
  orange, white = [250, 100, 0], [255] * 3
  np.testing.assert_array_equal(image[0], [[white, orange], [orange, orange]])
  np.testing.assert_array_equal(image[1][..., 0], [[99, 99], [255, 99]])


@pytest.mark.parametrize("ending", ["png", "tif", "TIFF"])
def test_images_of_16_bits_are_scaled(tmp_path, ending):
  values = np.arange(0, 2**16, 2**12).reshape(4, 4).astype(np.uint16)
  for name, pixels in (("a", values), ("b", values.T)):
    (tmp_path / name).mkdir()
    Image.fromarray(pixels).save(tmp_path / name / f"0.{ending}")
  image = image_folder.load(tmp_path, image_size=4).source.image
  np.testing.assert_array_equal(image[0, ..., 0], np.rint(values / 257))


def test_values_of_an_unknown_white_are_refused(tmp_path):
  values = np.linspace(0, 9, 16, dtype=np.float32).reshape(4, 4)
  for name in "ab":
    (tmp_path / name).mkdir()
    Image.fromarray(values).save(tmp_path / name / "0.tif")
  with refused("damaged", tmp_path / "a" / "0.tif"):
    image_folder.load(tmp_path, image_size=4)


def test_equal_images_are_refused(tmp_path):
  _classes(tmp_path, a=Image.new("L", (4, 4)), b=Image.new("L", (4, 4)))
  with refused("data", tmp_path):
    image_folder.load(tmp_path, image_size=4)


def _grey(value):
  return Image.fromarray(np.full((4, 4), value, np.uint8))


def _load(folder, **options):
  """Returns {class: values of its images}."""
  data = image_folder.load(folder, image_size=4, **options)
  value = data.source.image[:, 0, 0, 0]
  return {
    name: value[data.label == i].tolist()
    for i, name in enumerate(data.class_names)
  }


def test_what_tools_leave_behind_is_not_read(tmp_path):
  _classes(tmp_path, cat=_grey(1), dog=_grey(2))
  tools = (".ipynb_checkpoints", "__MACOSX", "@eaDir", ".cache")
  for place in (tmp_path, tmp_path / "cat"):
    _classes(place, **dict.fromkeys(tools, _grey(9)))
  (tmp_path / "cat" / "._0.png").write_bytes(b"\0\5\x16\7")
  (tmp_path / "cat" / "Thumbs.db").write_bytes(b"\0")
  assert _load(tmp_path) == {"cat": [1], "dog": [2]}


def test_nested_folders(tmp_path):
  root = tmp_path / "archive" / "images"
  for name, value in (("cat/0", 1), ("cat/more/1", 2), ("dog/x/y/0", 3)):
    path = root / f"{name}.PNG"
    path.parent.mkdir(parents=True, exist_ok=True)
    _grey(value).save(path)
  expected = {"cat": [1, 2], "dog": [3]}
  assert _load(root) == _load(tmp_path) == expected
  assert _load(tmp_path, max_per_class=1) == {"cat": [1], "dog": [3]}


def test_splits_and_copies_are_no_classes(tmp_path):
  for split in ("train", "Test"):
    (tmp_path / split).mkdir()
    _classes(tmp_path / split, cat=_grey(1), dog=_grey(2))
  with refused("data", tmp_path):
    _load(tmp_path)
  root = tmp_path / "train"
  assert _load(root) == {"cat": [1], "dog": [2]}
  (root / "cat").rename(root / "dog (1)")
  with refused("data", root):
    _load(root)


def test_what_is_no_file_is_not_opened(tmp_path):
  _classes(tmp_path, a=_grey(1), b=_grey(2))
  os.mkfifo(tmp_path / "a" / "1.png")
  (tmp_path / "a" / "2.png").symlink_to("/dev/zero")
  (tmp_path / "a" / "3.png").symlink_to("none.png")
  (tmp_path / "a" / "4.png").mkdir()
  (tmp_path / "b" / "1.png").symlink_to(tmp_path / "b" / "0.png")
  for i in range(1, 5):
    path = tmp_path / "a" / f"{i}.png"
    with refused("damaged", path):
      _load(tmp_path)
    expected = {"a": [1], "b": [2, 2]}
    assert _load(tmp_path, on_error="skip") == expected
    path.rmdir() if path.is_dir() else path.unlink()
  assert _load(tmp_path) == expected


def test_only_the_listed_formats_are_opened(tmp_path, monkeypatch):
  """Ghostscript is never run, whatever a file is called."""
  _classes(tmp_path, a=_grey(1), b=_grey(2))
  path = tmp_path / "a" / "1.png"
  Image.new("RGB", (4, 4)).save(path, format="EPS")
  marker = tmp_path / "ran"
  (tmp_path / "gs").write_text(f"#!/bin/sh\n: > {marker}\n")
  (tmp_path / "gs").chmod(0o755)
  monkeypatch.setenv("PATH", str(tmp_path))
  monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
  with refused("damaged", path):
    _load(tmp_path)
  assert not marker.exists()


def _png(width, height, content):
  """Returns a PNG whose header may claim more than its content."""

  def chunk(name, content):
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check

  header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
  rows = zlib.compress(content, 9)
  return b"\x89PNG\r\n\x1a\n" + b"".join(
    chunk(*x) for x in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
  )


def test_an_image_is_measured_before_it_is_decompressed(tmp_path):
  _classes(tmp_path, a=_grey(1), b=_grey(2))
  path = tmp_path / "a" / "1.png"
  path.write_bytes(_png(300, 400, bytes(901 * 400)))
  with refused("damaged", path):
    _load(tmp_path, max_pixels=300 * 400 - 1)
  assert _load(tmp_path, max_pixels=300 * 400) == {"a": [1, 0], "b": [2]}
  # The header alone decides.
  path.write_bytes(_png(10_000, 5_001, b""))
  with refused("damaged", path) as error:
    _load(tmp_path)
  assert "max_pixels" in error.value.text
