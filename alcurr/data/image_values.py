"""Images as people have them: of any type, range and order of axes."""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from alcurr.core.errors import UserError
from alcurr.data.labels import plain_array, require

Range = str | Sequence[float] | None


def check_images(
  images: Any, value_range: Range = None, channels_first: bool = False
) -> np.ndarray:
  """Returns [N, H, W, C] uint8, or float32 in [0, 1].

  Args:
    images: [N, H, W] or [N, H, W, C]; bools, whole numbers from 0 to 255 or
      floats in [0, 1]. A sequence of N equal shapes, such as a column of a data
      frame, is an array too.
    value_range: (black, white), the values that become 0 and 1, for images of
      any other range, such as (0, 65535) or (-1, 1); or "black,white".
    channels_first: whether the images are [N, C, H, W].

  Raises:
    UserError: another shape, type or range, or a shape that looks as if the
      channels were first, unless `channels_first`.
  """
  images = plain_images(images)
  if images.ndim == 4:
    got = list(images.shape)
    _, first, middle, last = got
    # No image is smaller than the number of its channels.
    if channels_first:
      images = np.moveaxis(images, 1, 3)
      require(last >= min(first, middle), "inputs", "[N, C, H, W]", got)
    else:
      expected = "[N, H, W, C], or channels_first=True"
      require(first >= min(middle, last), "inputs", expected, got)
  if images.ndim == 3:
    images = images[..., None]
  ok, shape = images.ndim == 4 and images.size > 0, list(images.shape)
  require(ok, "inputs", "[N, H, W] or [N, H, W, C], not empty", shape)
  bounds = parse_range(value_range)
  if images.dtype == np.uint8 and bounds in (None, (0, 255)):
    return images
  is_bool, is_float = images.dtype == bool, images.dtype.kind == "f"
  # Before float32 rounds the next number above 1 to 1; NaN fails too.
  black, white = bounds or ((0, 1) if is_float or is_bool else (0, 255))
  low, high = images.min(), images.max()
  expected = f"values from {black:g} to {white:g}"
  if not bounds:
    expected += ", or value_range=(black, white)"
  ok = black <= low and high <= white
  require(ok, "inputs", expected, f"{low:g} to {high:g}, {images.dtype}")
  if is_bool:
    return images * np.uint8(255)
  if not is_float and (black, white) == (0, 255):
    return images.astype(np.uint8)
  if (black, white) == (0, 1):
    return images.astype(np.float32)
  # Rounded once: the values may be larger than float32 resolves.
  scaled = (images.astype(np.float64) - black) / (white - black)
  return scaled.astype(np.float32)


def plain_images(images: Any) -> np.ndarray:
  """Returns an array of numbers or bools, of any shape and range.

  Raises:
    UserError: other values, such as texts or strokes.
  """
  try:
    images = plain_array(images, "inputs")
  except UserError as error:
    if not isinstance(images, list | tuple):
      raise
    raise _unusable("lists of unequal lengths") from error
  if images.dtype == object and images.ndim and images.size:
    # A row may be of Python's numbers, as images of a table's columns are.
    is_table = images.ndim > 1
    rows = [
      plain_array(row.tolist() if is_table else row, "inputs") for row in images
    ]
    shapes = sorted({row.shape for row in rows})
    if len(shapes) > 1:
      raise _unusable(f"the shapes {shapes[:3]}")
    images = np.stack(rows)
  if jnp.issubdtype(images.dtype, jnp.bfloat16):  # no type of NumPy's own
    images = images.astype(np.float32)
  if images.dtype.kind not in "biuf":
    is_text = images.dtype.kind in "UST"
    raise _unusable("texts" if is_text else str(images.dtype))
  return images


def _unusable(got: str) -> UserError:
  text = (
    "expected images [N, H, W] or [N, H, W, C], or rows of numbers, all of one "
    f"shape, got {got}; alcurr.data.render_all makes images of strokes, and a "
    "tokenizer makes numbers of texts"
  )
  return UserError("data", "inputs", text)


def parse_range(
  value: Range, place: str = "value_range"
) -> tuple[float, float] | None:
  """Returns (black, white) of two numbers or "black,white", None if empty.

  Raises:
    UserError: anything else, or numbers that do not increase.
  """
  if value is None or (isinstance(value, str) and not value):
    return None
  try:
    parts = value.split(",") if isinstance(value, str) else value
    black, white = map(float, parts)
    if -math.inf < black < white < math.inf:
      return black, white
  except (TypeError, ValueError):
    pass
  text = f"expected two increasing numbers, such as 0,255, got {value!r}"
  raise UserError("range", place, text)
