"""Reads files of trained weights without the library that wrote them.

The content tells which of three layouts a file has:

  Keras, legacy `.h5`       the attribute `layer_names`, of the file or of its
                            group `model_weights`; a group for each layer,
                            whose attribute `weight_names` lists its tensors
  Keras 3, `.weights.h5`    layers/<class>_<n>/vars/<i>, where the attribute
                            `name` of `vars` is the layer's name
  timm, `.safetensors`      <layer>.<variable>

Integers are not weights: they count batches or are the seeds of dropout. The
layouts are those of Keras (https://github.com/keras-team/keras) and timm
(https://github.com/huggingface/pytorch-image-models), both Apache-2.0.
"""

import functools
import hashlib
import os
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from alcurr.core.extras import import_extra

if TYPE_CHECKING:
  import h5py

_READABLE = "expected a file of Keras (.h5, .weights.h5) or timm (.safetensors)"


class Tensor(NamedTuple):
  """A tensor of a file."""

  key: str  # its place in the file
  shape: tuple[int, ...]


# The tensors of each layer by variable, in the order of the file.
FileLayers = dict[str, dict[str, Tensor]]


class WeightFile(NamedTuple):
  """The index of a file, without the numbers."""

  path: str
  format: str  # "keras", "keras3" or "safetensors"
  layers: FileLayers  # the variables of "keras3" have numbers for names


def read(path: str) -> WeightFile:
  """Returns the names and shapes of a file's tensors.

  Raises:
    ValueError: there is no such file, or it has none of the layouts above.
    UserError: a package of the extra `weights` is not installed.
  """
  h5py, safetensors = _import("h5py"), _import("safetensors")
  if not os.path.exists(path):
    raise ValueError(f"there is no file {path}")
  if not os.path.isfile(path):  # a FIFO would hang
    raise ValueError(f"{path} is no regular file: {_READABLE}")
  try:
    if h5py.is_hdf5(path):
      with h5py.File(path, "r") as file:
        return WeightFile(path, *_hdf5_layers(file, path))
    if _starts_like_safetensors(path):
      return WeightFile(path, "safetensors", _safetensors_layers(path))
  except (
    OSError,
    KeyError,
    safetensors.SafetensorError,
    # Groups where Keras writes tensors, or names that are not text.
    AttributeError,
    RuntimeError,
    TypeError,
    UnicodeError,
  ) as error:
    raise ValueError(f"{path} is damaged: {error}") from error
  raise ValueError(f"{path} is neither HDF5 nor safetensors: {_READABLE}")


def read_tensors(file: WeightFile, keys: list[str]) -> list[np.ndarray]:
  """Returns the tensors with these keys, as float32."""
  if file.format == "safetensors":
    # Read as JAX arrays because NumPy has no bfloat16.
    with _import("safetensors").safe_open(file.path, "flax") as opened:
      return [np.asarray(opened.get_tensor(key), np.float32) for key in keys]
  with _import("h5py").File(file.path, "r") as opened:
    return [opened[key][()].astype(np.float32) for key in keys]


def digest(path: str) -> str:
  """Returns a hash of the file's content."""
  with open(path, "rb") as file:
    blake2b = functools.partial(hashlib.blake2b, digest_size=16)
    return hashlib.file_digest(file, blake2b).hexdigest()


def _import(package: str) -> ModuleType:
  return import_extra(package, "weights", "weights")


def _starts_like_safetensors(path: str) -> bool:
  """Returns whether a JSON object follows the eight bytes of its length."""
  with open(path, "rb") as file:
    return file.read(9)[8:] == b"{"


def _safetensors_layers(path: str) -> FileLayers:
  layers = {}
  with _import("safetensors").safe_open(path, "numpy") as file:
    for key in file.keys():  # noqa: SIM118, it cannot be iterated
      tensor = file.get_slice(key)
      if tensor.get_dtype().startswith(("F", "BF")):
        layer, _, variable = key.rpartition(".")
        shape = tuple(tensor.get_shape())
        layers.setdefault(layer, {})[variable] = Tensor(key, shape)
  return layers


def _hdf5_layers(file: "h5py.File", path: str) -> tuple[str, FileLayers]:
  for group in (file, file.get("model_weights")):
    if group is not None and (names := _strings(group, "layer_names")):
      layers = {name: _legacy_layer(group[name]) for name in names}
      return "keras", {name: layer for name, layer in layers.items() if layer}
  if "layers" in file:
    return "keras3", _keras3_layers(file, path)
  raise ValueError(f"{path} is HDF5, but not as Keras writes it: {_READABLE}")


def _strings(group: "h5py.Group", name: str) -> list[str]:
  """Returns an attribute; Keras splits a long one into name0, name1, ..."""
  chunks = [name] if name in group.attrs else []
  while not chunks or chunks[-1] != name:
    chunk = f"{name}{len(chunks)}"
    if chunk not in group.attrs:
      break
    chunks.append(chunk)
  return [
    x.decode() if isinstance(x, bytes) else x
    for chunk in chunks
    for x in group.attrs[chunk]
  ]


def _legacy_layer(group: "h5py.Group") -> dict[str, Tensor]:
  """Returns the variables of `conv1`, listed as conv1/kernel[:0]."""
  tensors = {}
  for name in _strings(group, "weight_names"):
    tensor = group[name]
    if tensor.dtype.kind == "f":
      # A nested layer's name begins with the names of its parents.
      variable = name.split("/")[-1].removesuffix(":0")
      variable = name if variable in tensors else variable
      tensors[variable] = Tensor(tensor.name, tensor.shape)
  return tensors


def _keras3_layers(file: "h5py.File", path: str) -> FileLayers:
  paths, layers = [], {}
  file["layers"].visit(paths.append)
  for group_path in filter(lambda p: p.endswith("vars"), paths):
    group = file["layers"][group_path]
    variables = {
      index: Tensor(group[index].name, group[index].shape)
      for index in sorted(filter(str.isdecimal, group), key=int)
      if group[index].dtype.kind == "f"
    }
    if not variables:
      continue
    if "name" not in group.attrs:
      raise ValueError(
        f"{path} has no layer names: write it again with Keras 3.3 or later"
      )
    name = group.attrs["name"]
    # A model within the model may have a layer with the same name.
    layers[group.name if name in layers else name] = variables
  return layers
