"""Images of every type and range, against plain arithmetic in float64."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from refusal import refused

from alcurr.data.image_values import check_images, parse_range

BYTES = np.random.default_rng(0).integers(0, 256, (6, 5, 5), np.uint8)
BYTES[0, 0, :2] = 0, 255
STANDARD = (BYTES - BYTES.mean()) / BYTES.std()
ENDS = STANDARD.min(), STANDARD.max()


@pytest.mark.parametrize(
  "images",
  [
    BYTES,
    BYTES.astype(np.int64),
    BYTES.astype(np.uint16),
    BYTES.tolist(),
    list(BYTES),
    BYTES.astype(object),
    np.ma.array(BYTES),
    pd.DataFrame({"image": list(BYTES)})["image"],
    pd.DataFrame({"image": list(BYTES)})["image"].values,
    jnp.asarray(BYTES),
    [Image.fromarray(x) for x in BYTES],
  ],
)
def test_whole_numbers_to_255(images):
  result = check_images(images)
  assert result.dtype == np.uint8
  np.testing.assert_array_equal(result, BYTES[..., None])


def test_bools_are_black_and_white():
  result = check_images(BYTES > 99)
  np.testing.assert_array_equal(result[..., 0], np.where(BYTES > 99, 255, 0))


@pytest.mark.parametrize("dtype", [np.float16, "float32", float, jnp.bfloat16])
def test_floats_in_0_to_1(dtype):
  images = (BYTES / 255).astype(dtype)
  result = check_images(images)
  assert result.dtype == np.float32
  np.testing.assert_array_equal(result[..., 0], images.astype(np.float32))


@pytest.mark.parametrize(
  ("images", "value_range"),
  [
    (BYTES.astype(np.float32), (0, 255)),
    (BYTES.astype(np.uint16) * 257, [0, 65535]),
    (BYTES.astype(np.int32) * 257 - 2**15, np.array([-(2**15), 2**15 - 1])),
    (BYTES.astype(np.uint64) * 2**40, (0, 255 * 2**40)),
    (BYTES / 127.5 - 1, "-1,1"),
    (STANDARD, ENDS),
    (STANDARD.astype(np.float32), tuple(np.float32(ENDS))),
    (BYTES // 255, (0, 1)),
    ((BYTES // 16).astype(float), (0, 16)),
  ],
)
def test_other_ranges_are_asked_about(images, value_range):
  result = check_images(images, value_range)
  low, high = parse_range(value_range)
  expected = (images.astype(float) - low) / (high - low)
  assert result.dtype == np.float32
  assert result.min() >= 0 and result.max() <= 1
  np.testing.assert_allclose(result[..., 0], expected, atol=1e-6)
  # A value outside of the range is not clipped.
  with refused("data", "inputs"):
    check_images(images, (low, low + (high - low) * 0.9 * images.max() / high))


@pytest.mark.parametrize(
  "images",
  [
    BYTES.astype(np.float32),
    BYTES.astype(np.uint16) * 2,
    BYTES.astype(int) - 1,
    STANDARD,
    np.where(BYTES > 99, np.nan, 0.5),
    np.ma.array(BYTES, mask=BYTES > 99),
    [np.ma.array(x, mask=x > 99) for x in BYTES],
    [None, *BYTES],
    np.array([None] * 6),
    None,
    BYTES.astype(str),
    BYTES * 1j,
    [b"png"] * 6,
    [BYTES[0], BYTES[1, :3]],
    pd.Series([BYTES[0], BYTES[1, :3]]),
  ],
)
def test_unclear_values_are_refused(images):
  with refused("data", "inputs"):
    check_images(images)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_channels_first(channels):
  images = np.repeat(BYTES[..., None], channels, -1)
  images = images * np.arange(1, channels + 1, dtype=np.uint8)
  first = np.moveaxis(images, -1, 1)
  np.testing.assert_array_equal(check_images(images), images)
  np.testing.assert_array_equal(
    check_images(first, channels_first=True), images
  )
  with refused("data", "inputs"):
    check_images(first)
  with refused("data", "inputs"):
    check_images(images, channels_first=True)
  # Grey images without channels have one order.
  assert check_images(BYTES, channels_first=True).shape == (6, 5, 5, 1)


@pytest.mark.parametrize(
  "shape", [(6, 5, 5, 200), (6, 16, 9, 12), (6, 9, 16, 3), (6, 2, 9)]
)
def test_many_channels_and_wide_images_are_not_asked_about(shape):
  images = np.zeros(shape, np.uint8)
  assert check_images(images).shape == (*shape, 1)[:4]


@pytest.mark.parametrize(
  "value_range", ["1", "0,1,2", "a,b", (1, 1), (2, 1), "0,inf", "nan,1", 5]
)
def test_ranges_that_are_none(value_range):
  with refused("range", "value_range"):
    check_images(BYTES, value_range)
