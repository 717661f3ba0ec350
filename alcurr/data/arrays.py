"""Examples that are arrays in memory: images, or rows of numbers."""

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from alcurr.core.errors import UserError
from alcurr.data import rows
from alcurr.data.image_values import (
  Range,
  check_images,
  parse_range,
  plain_images,
)
from alcurr.data.labels import (
  check_spelling,
  read_labels,
  read_targets,
  require,
)
from alcurr.data.pool import Dataset
from alcurr.types import Images, PyTree, Rows

# Images whose brightest value is at most this share of white, unless a range
# was given, may be masks of 0 and 1, or scikit-learn's digits to 16.
_DARK = 16 / 255


def content_keys(examples: PyTree) -> np.ndarray:
  """Returns a 64-bit hash of the bytes of each example: [N] uint64.

  `examples` are an array [N, ...], or a PyTree of such.
  """
  arrays = [
    np.ascontiguousarray(leaf).reshape(len(leaf), -1)
    for leaf in jax.tree.leaves(examples)
  ]
  digests = []
  for parts in zip(*arrays, strict=True):
    content = hashlib.blake2b(digest_size=8)
    for part in parts:
      content.update(part)
    digests.append(content.digest())
  return np.frombuffer(b"".join(digests), np.uint64)


def from_arrays(
  inputs: Any,
  labels: Any,
  class_names: Sequence[str] | None = None,
  *,
  value_range: Range = None,
  channels_first: bool = False,
  groups: Any = None,
  group_names: Sequence[str] | None = None,
  every_class: bool = True,
  regression: bool = False,
) -> Dataset:
  """Builds a dataset of labelled images, or of rows.

  Args:
    inputs: images, see `check_images`; or rows, see `rows.check_rows`: arrays
      [N, F], data frames and dicts.
    labels: [N] or [N, 1]; strings, bools, or whole numbers of any type.
    class_names: for strings, their order; for numbers, the names of 0, 1, ...
      None: the labels are the names, sorted.
    value_range: see `check_images`.
    channels_first: see `check_images`.
    groups: [N], as labels: the source, domain or length of each example, an arm
      each of the partition `groups`; None for none.
    group_names: as class_names.
    regression: whether labels are numbers to predict, [N] or [N, V].
    every_class: whether classes without examples, fewer than two of them, and
      a single image are refused; a split of a dataset may have them.

  Raises:
    UserError: another shape, type or range, missing labels, a class without
      examples or with another spelling in another group, or images that are all
      equal.
  """
  source = _read_inputs(inputs, parse_range(value_range), channels_first)
  keys = content_keys(source)
  size = len(keys)
  target = None
  if regression:
    target = read_targets(labels, size)
    label, names = np.zeros(size, np.int32), ("all",)
  else:
    label, names = read_labels(
      labels, size, class_names, every_name=every_class
    )
  differ = (keys != keys[0]).any() or (size == 1 and not every_class)
  require(differ, "inputs", "different examples", f"{size} equal ones")
  dataset = Dataset(source, label, keys, names, {}, target=target)
  if groups is None:
    return dataset
  group, kinds = read_labels(groups, size, group_names, "groups", "group_names")
  if class_names is None:
    check_spelling(label, dataset.class_names, group, kinds)
  return dataset._replace(groups=group, group_names=kinds)


def _read_inputs(
  inputs: Any, bounds: tuple[float, float] | None, channels_first: bool
) -> Images | Rows:
  """Returns checked images or rows."""
  if not rows.has_columns(inputs):
    inputs = plain_images(inputs)
    if inputs.ndim != 2:
      images = check_images(inputs, bounds, channels_first)
      if not bounds:
        white = 255 if images.dtype == np.uint8 else 1
        brightest = images.max()
        ok = brightest > _DARK * white
        expected = f"values up to {white}, or value_range=(black, white)"
        require(ok, "inputs", expected, f"at most {brightest:g}")
      return Images(images)
  options = {"value_range": bounds, "channels_first": channels_first}
  for name, value in options.items():
    if value:
      text = "expected none, since the inputs are no images"
      raise UserError("conflict", name, text)
  return Rows(rows.check_rows(inputs))
