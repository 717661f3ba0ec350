"""A labelled dataset as a folder of .npy files.

What the cache keeps of an experiment and what `python -m alcurr.data prepare`
makes of a folder of files are both an entry as `cache` describes it: a file for
each array of `to_arrays`, and a manifest.
"""

import pathlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from alcurr.core import files
from alcurr.data import cache
from alcurr.data.pool import Dataset
from alcurr.types import Images, Strokes

_KINDS = {"Strokes": Strokes, "Images": Images}
_FLAGS = ("recognized",)


def to_arrays(dataset: Dataset) -> dict[str, np.ndarray]:
  """By the name of their file."""
  return {
    **dataset.source._asdict(),
    "label": dataset.label,
    "key": dataset.key,
    **dataset.flags,
  }


def to_dataset(
  arrays: Mapping[str, np.ndarray], kind: str, class_names: tuple[str, ...]
) -> Dataset:
  """What `to_arrays` took apart.

  Args:
    arrays: by name.
    kind: of its source, Strokes or Images.
    class_names: of its labels.
  """
  source = _KINDS[kind]
  return Dataset(
    source=source(**{field: arrays[field] for field in source._fields}),
    label=arrays["label"],
    key=arrays["key"],
    class_names=class_names,
    flags={name: arrays[name] for name in _FLAGS if name in arrays},
  )


def save_stream(
  path: pathlib.Path,
  dtype: np.typing.DTypeLike,
  shape: Sequence[int],
  chunks: Iterable[np.ndarray],
) -> int:
  """Writes a .npy file as it comes, whole or not at all.

  Memory: of a chunk.

  Args:
    path: of the file.
    dtype: of the array.
    shape: of the array.
    chunks: consecutive parts of it, along the first axis.

  Returns:
    Its checksum, as the cache has it.
  """
  dtype, shape = np.dtype(dtype), tuple(shape)
  header = {
    "descr": np.lib.format.dtype_to_descr(dtype),
    "fortran_order": False,
    "shape": shape,
  }
  sums = [cache.header_checksum(dtype, shape)]

  def write(file: Any) -> None:
    np.lib.format.write_array_header_1_0(file, header)
    rows = 0
    for chunk in chunks:
      content = np.ascontiguousarray(chunk, dtype).reshape(-1).view(np.uint8)
      file.write(content)
      sums.append(zlib.crc32(content, sums.pop()))
      rows += len(chunk)
    if rows != shape[0]:
      raise ValueError(f"{path}: {rows} rows for a shape of {shape}")

  files.write_file(path, write)
  return sums.pop()
