"""Matches the tensors of a weights file with those of a network.

A layer is looked up in the file by its name (see `Source`). A variable of a
layer is matched by position in Keras's files, whose variable names differ
between versions, and by name in timm's. Every tensor of the network comes
from the file, and every tensor of the file is used. The classifier, which is
always new, is the only exception.

The layer names and tensor layouts are those of Keras Applications and timm,
both Apache-2.0; see `weight_files`.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from alcurr.models import layers, weight_files
from alcurr.models.weight_files import Tensor, WeightFile
from alcurr.types import Array, PyTree

# Flax's names of variables, in Keras's order, and PyTorch's names.
VARIABLES = {
  "depthwise_kernel": "weight",
  "pointwise_kernel": "weight",
  "kernel": "weight",
  "scale": "weight",
  "bias": "bias",
  "mean": "running_mean",
  "var": "running_var",
}

# The layer whose name tells a network's sources apart.
_STEM = ("conv1",)

# The names that Keras gives, with a number, to layers without a name.
_CONV, _NORM = "conv2d", "batch_normalization"


class Source(NamedTuple):
  """A published set of weights for a network."""

  name: str
  file: str  # its usual name
  head: str  # the layer of the classifier
  preprocessing: str  # a key of imagenet.PREPROCESSING
  # Maps the path of a layer in the network to its name in the file. None means
  # that the file numbers it by creation: conv2d_7, batch_normalization_7.
  layer: Callable[[tuple[str, ...]], str | None] = lambda path: path[-1]
  # Fields that the module must have for these weights.
  fields: Mapping[str, Any] = {}


class Variable(NamedTuple):
  """A tensor of a network."""

  path: tuple[str, ...]  # collection, layers, name of the variable
  shape: tuple[int, ...]


# Path of a layer -> name of a variable -> variable, in order of creation.
Layers = dict[tuple[str, ...], dict[str, Variable]]


class Pair(NamedTuple):
  """A tensor of the network and the tensor of the file that it starts from."""

  variable: Variable
  key: str  # in the file
  axes: tuple[int, ...]  # the file's axes in the network's order


@functools.lru_cache(maxsize=8)  # deep networks take seconds
def layers_of(module: nn.Module, image_shape: tuple[int, int, int]) -> Layers:
  """Returns the layers that a network has for RGB images of this size."""
  # Transformations such as remat sort dicts, and "lax" is fastest to trace.
  options = dataclasses.replace(module.options, remat=False, conv="lax")
  plain = module.clone(options=options)
  network = {}

  def init(key: Array) -> None:
    image = jnp.zeros((1, *image_shape[:2], 3), jnp.float32)
    variables = plain.init({"params": key}, image, train=False)
    for path, x in traverse_util.flatten_dict(dict(variables)).items():
      *layer, name = path[1:]
      network.setdefault(tuple(layer), {})[name] = Variable(path, x.shape)

  jax.eval_shape(init, jax.random.key(0))
  return network


def source_of(file: WeightFile, sources: tuple[Source, ...]) -> Source:
  """Returns the source whose layer names the file has; a single one unchecked.

  Raises:
    ValueError: the file matches none of several sources.
  """
  if len(sources) == 1:
    return sources[0]
  stems = [str(source.layer(_STEM)) for source in sources]
  for source, stem in zip(sources, stems, strict=True):
    if stem in file.layers:
      return source
  raise ValueError(
    f"{file.path} has no layer {' or '.join(stems)}: expected "
    + " or ".join(f"{source.name} ({source.file})" for source in sources)
  )


def match(network: Layers, source: Source, file: WeightFile) -> list[Pair]:
  """Returns a pair for every tensor but the classifier's, the stem's first.

  Raises:
    ValueError: a tensor is missing, unused or of another shape.
  """
  numbered = {kind: _numbered(file, kind) for kind in (_CONV, _NORM)}
  unused = dict(file.layers)
  unused.pop(source.head, None)
  pairs = []
  try:
    for path, variables in network.items():
      if path[-1] == layers.HEAD:
        continue
      name = source.layer(path)
      if name is None:
        kind = _NORM if "mean" in variables else _CONV
        name = next(numbered[kind], f"one more {kind}")
      tensors = dict(unused.pop(name, {}))
      for variable in sorted(variables, key=list(VARIABLES).index):
        by_name = file.format == "safetensors"
        key = VARIABLES[variable] if by_name else next(iter(tensors), variable)
        tensor = tensors.pop(key, None)
        pairs.append(_pair(variables[variable], f"{name} {key}", tensor, file))
      unused |= {name: tensors}
    for name, tensors in unused.items():
      for key, tensor in tensors.items():
        raise ValueError(f"{name} {key} {tensor.shape} is not used")
  except ValueError as error:
    raise ValueError(
      f"{file.path} does not fit the network: {error}; expected {source.name} "
      f"({source.file}) of the same width and blocks"
    ) from error
  return pairs


def read_variables(
  file: WeightFile, pairs: list[Pair]
) -> dict[tuple[str, ...], np.ndarray]:
  """Reads the tensors of the network, by path."""
  tensors = weight_files.read_tensors(file, [pair.key for pair in pairs])
  return {
    pair.variable.path: tensor.transpose(pair.axes)
    for pair, tensor in zip(pairs, tensors, strict=True)
  }


def unflatten(flat: dict[tuple[str, ...], PyTree]) -> tuple[PyTree, PyTree]:
  """Returns params and model_state from tensors by path."""
  model_state = traverse_util.unflatten_dict(flat)
  return model_state.pop("params"), model_state


def _numbered(file: WeightFile, kind: str) -> Iterator[str]:
  """Returns conv2d, conv2d_1, ..., from whatever number they start at."""
  names = [n for n in file.layers if re.fullmatch(rf"{kind}(_\d+)?", n)]
  return iter(sorted(names, key=lambda n: int(n[len(kind) + 1 :] or 0)))


def _pair(
  variable: Variable, name: str, tensor: Tensor | None, file: WeightFile
) -> Pair:
  axes = _file_axes(variable.shape, torch=file.format == "safetensors")
  shape = tuple(variable.shape[axes.index(i)] for i in range(len(axes)))
  expected = f"expected {'/'.join(variable.path[1:])} of shape {shape}"
  if tensor is None:
    raise ValueError(f"{name} is missing: {expected}")
  if tensor.shape != shape:
    raise ValueError(f"{name} has shape {tensor.shape}: {expected}")
  return Pair(variable, tensor.key, axes)


def _file_axes(shape: tuple[int, ...], torch: bool) -> tuple[int, ...]:
  """Returns the axes of the file's tensor in the network's order."""
  if torch and len(shape) == 4:
    return (2, 3, 1, 0)  # OIHW -> HWIO
  if len(shape) == 4 and shape[2] == 1 and shape[:2] != (1, 1):
    return (0, 1, 3, 2)  # a depthwise kernel
  return tuple(range(len(shape)))
