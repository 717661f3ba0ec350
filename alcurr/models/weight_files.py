"""Files of trained weights, read without the library that wrote them.

Three layouts, told apart by what is in the file:

  Keras, legacy `.h5`       the attribute `layer_names`, of the file or of its
                            group `model_weights`; a group for each layer,
                            whose attribute `weight_names` lists its tensors
  Keras 3, `.weights.h5`    layers/<class>_<n>/vars/<i>, where the attribute
                            `name` of `vars` is the layer's name
  timm, `.safetensors`      <layer>.<variable>

Integers are no weights: the counters of batch norms, the seeds of dropout.
"""

import functools
import hashlib
import os
from typing import NamedTuple

import h5py
import numpy as np
import safetensors

# What is read, for the messages.
READ = (
  "what Keras writes (.h5, .weights.h5) and what timm does (.safetensors) "
  "can be read"
)


class Tensor(NamedTuple):
  key: str  # its place in the file
  shape: tuple[int, ...]


class WeightFile(NamedTuple):
  """What is in a file; `tensors` reads the numbers."""

  path: str
  format: str  # "keras", "keras3" or "safetensors"
  # The tensors of each layer by variable, in the order of the file; those of
  # "keras3" are numbered, not named.
  layers: dict[str, dict[str, Tensor]]


def read(path: str) -> WeightFile:
  """The names and shapes of a file's tensors.

  Raises:
    ValueError: no such file, or not one of the layouts above.
  """
  if not os.path.exists(path):
    raise ValueError(f"there is no file {path}")
  if os.path.isdir(path):
    raise ValueError(f"{path} is a folder and not a file: {READ}")
  try:
    if h5py.is_hdf5(path):
      with h5py.File(path, "r") as file:
        return WeightFile(path, *_hdf5_layers(file, path))
    if _is_safetensors(path):
      with safetensors.safe_open(path, "numpy") as file:
        return WeightFile(path, "safetensors", _safetensors_layers(file))
  except (
    *(OSError, KeyError, safetensors.SafetensorError),
    # Parts of another kind than Keras writes, or names that are no text.
    *(AttributeError, RuntimeError, TypeError, UnicodeError),
  ) as error:
    raise ValueError(f"{path} is damaged: {error}") from error
  raise ValueError(f"{path} is neither HDF5 nor safetensors: {READ}")


def tensors(file: WeightFile, keys: list[str]) -> list[np.ndarray]:
  """The tensors of these keys, as float32."""
  if file.format == "safetensors":
    # As JAX's, for NumPy has no bfloat16.
    with safetensors.safe_open(file.path, "flax") as opened:
      return [np.asarray(opened.get_tensor(key), np.float32) for key in keys]
  with h5py.File(file.path, "r") as opened:
    return [opened[key][()].astype(np.float32) for key in keys]


def digest(path: str) -> str:
  """A fingerprint of the file's content."""
  status = os.stat(path)
  return _digest(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache
def _digest(path: str, _mtime: int, _size: int) -> str:
  with open(path, "rb") as file:
    blake2b = functools.partial(hashlib.blake2b, digest_size=16)
    return hashlib.file_digest(file, blake2b).hexdigest()


def _is_safetensors(path: str) -> bool:
  """Whether a JSON object follows the eight bytes of its length."""
  with open(path, "rb") as file:
    return file.read(9)[8:] == b"{"


def _safetensors_layers(file) -> dict[str, dict[str, Tensor]]:
  layers = {}
  for key in file.keys():  # noqa: SIM118, it cannot be iterated
    tensor = file.get_slice(key)
    if tensor.get_dtype().startswith(("F", "BF")):
      layer, _, variable = key.rpartition(".")
      layers.setdefault(layer, {})[variable] = Tensor(
        key, tuple(tensor.get_shape())
      )
  return layers


def _hdf5_layers(
  file: h5py.File, path: str
) -> tuple[str, dict[str, dict[str, Tensor]]]:
  for group in (file, file.get("model_weights")):
    if group is not None and (names := _strings(group, "layer_names")):
      found = {name: _legacy_layer(group[name]) for name in names}
      return "keras", {name: layer for name, layer in found.items() if layer}
  if "layers" in file:
    return "keras3", _keras3_layers(file, path)
  raise ValueError(f"{path} is HDF5, but not as Keras writes weights: {READ}")


def _strings(group: h5py.Group, name: str) -> list[str]:
  """An attribute; Keras cuts a long one into name0, name1, ..."""
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


def _legacy_layer(group: h5py.Group) -> dict[str, Tensor]:
  """The variables of `conv1`, listed as conv1/kernel:0 or conv1/kernel."""
  found = {}
  for name in _strings(group, "weight_names"):
    tensor = group[name]
    if tensor.dtype.kind == "f":
      # Within other layers, names begin with those layers'.
      variable = name.split("/")[-1].removesuffix(":0")
      variable = name if variable in found else variable
      found[variable] = Tensor(tensor.name, tensor.shape)
  return found


def _keras3_layers(file: h5py.File, path: str) -> dict[str, dict[str, Tensor]]:
  groups = []

  def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
    if name.endswith("vars") and isinstance(item, h5py.Group):
      groups.append(item)

  file["layers"].visititems(visit)
  layers = {}
  for group in groups:
    variables = {
      index: Tensor(group[index].name, group[index].shape)
      for index in sorted(filter(str.isdecimal, group), key=int)
      if group[index].dtype.kind == "f"
    }
    if variables and "name" not in group.attrs:
      raise ValueError(
        f"{path} has no names of layers, as files of Keras before 3.3: write "
        "it again with a later Keras"
      )
    if variables:
      name = group.attrs["name"]
      # A model within the model may have a layer of the same name.
      layers[group.name if name in layers else name] = variables
  return layers
