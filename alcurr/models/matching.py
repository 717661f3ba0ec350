"""Which tensor of a weights file becomes which of a network.

A layer of ours is found in the file by its name (see `Source`). A variable
within it is found by its place in Keras's files, as versions of Keras name
variables differently, and by its name in timm's. Every tensor of the network
comes from the file, and every tensor of the file goes somewhere; only the
classifier may be left out.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from alcurr.models import layers, weight_files
from alcurr.models.weight_files import Tensor, WeightFile
from alcurr.types import Array, PyTree

# Our variables in Keras's order, and as torch calls them.
VARIABLES = {
  "depthwise_kernel": "weight",
  "pointwise_kernel": "weight",
  "kernel": "weight",
  "scale": "weight",
  "bias": "bias",
  "mean": "running_mean",
  "var": "running_var",
}

# What Keras calls the layers that it was given no names for, and a number.
_CONV, _NORM = "conv2d", "batch_normalization"


class Source(NamedTuple):
  """Trained weights of a network, and what their files call its layers."""

  name: str
  file: str  # as it is usually called
  head: str  # the layer of the classifier
  preprocessing: str  # a key of imagenet.PREPROCESSING
  # From the path of a layer of ours to the file's name of it; None for what
  # the file numbers in order of creation, conv2d_7 or batch_normalization_7.
  layer: Callable[[tuple[str, ...]], str | None] = lambda path: path[-1]
  # The layer that tells a file from those of the network's other sources.
  stem: tuple[str, ...] = ("conv1",)


class Ours(NamedTuple):
  """A tensor of a network."""

  path: tuple[str, ...]  # collection, layers, variable
  shape: tuple[int, ...]


# Path of a layer -> variable -> tensor, in order of creation.
Layers = dict[tuple[str, ...], dict[str, Ours]]


class Pair(NamedTuple):
  """A tensor of the network, and the one it is made of."""

  ours: Ours
  key: str  # in the file
  axes: tuple[int, ...]  # the file's, in our order


@functools.lru_cache(maxsize=8)  # seconds for the deepest, not to be repeated
def layers_of(module: nn.Module, image_shape: tuple[int, int, int]) -> Layers:
  """The layers of a network for RGB, whatever the channels of the image."""
  # JAX sorts the dicts that leave a transformation, of which
  # rematerialisation is one; and "lax" is the quickest to trace.
  options = dataclasses.replace(module.options, remat=False, conv="lax")
  plain = module.clone(options=options)
  found = {}

  def init(key: Array) -> None:
    image = jnp.zeros((1, *image_shape[:2], 3))
    variables = plain.init({"params": key}, image, train=False)
    for path, x in traverse_util.flatten_dict(dict(variables)).items():
      *layer, variable = path[1:]
      found.setdefault(tuple(layer), {})[variable] = Ours(path, x.shape)

  jax.eval_shape(init, jax.random.key(0))
  return found


def source_of(file: WeightFile, sources: tuple[Source, ...]) -> Source:
  """The source that a file's layers are named after; one alone is not asked.

  Raises:
    ValueError: none of several.
  """
  if len(sources) == 1:
    return sources[0]
  stems = [str(source.layer(source.stem)) for source in sources]
  for source, stem in zip(sources, stems, strict=True):
    if stem in file.layers:
      return source
  raise ValueError(
    f"{file.path} has no layer {' or '.join(stems)}: expected "
    + " or ".join(f"{source.name} ({source.file})" for source in sources)
  )


def match(
  network: Layers, source: Source, file: WeightFile, with_head: bool
) -> list[Pair]:
  """Every tensor of the network with one of the file, the first kernel first.

  Args:
    network: as `layers_of` has it.
    source: whose the file is.
    file: the weights.
    with_head: whether the classifier comes from the file too; else it is left
      out.

  Raises:
    ValueError: a tensor is missing, left over or of another shape.
  """
  auto = {kind: _numbered(file, kind) for kind in (_CONV, _NORM)}
  left = dict(file.layers)
  pairs = []
  try:
    for path, variables in network.items():
      is_head = path[-1] == layers.HEAD
      name = source.head if is_head else source.layer(path)
      if name is None:
        kind = _NORM if "mean" in variables else _CONV
        name = next(auto[kind], f"one more {kind}")
      tensors = dict(left.pop(name, {}))
      if is_head and not with_head:
        continue
      for variable in sorted(variables, key=list(VARIABLES).index):
        by_name = file.format == "safetensors"
        key = VARIABLES[variable] if by_name else next(iter(tensors), variable)
        tensor = tensors.pop(key, None)
        pairs.append(_pair(variables[variable], f"{name} {key}", tensor, file))
      if tensors:
        left[name] = tensors
    for name, tensors in left.items():
      for key, tensor in tensors.items():
        raise ValueError(f"{name} {key} {tensor.shape} is left over")
  except ValueError as error:
    raise ValueError(
      f"{file.path} does not fit the network: {error}; expected {source.name} "
      f"({source.file}) of the same width and blocks"
    ) from error
  return pairs


def assemble(
  file: WeightFile, pairs: list[Pair]
) -> dict[tuple[str, ...], np.ndarray]:
  """The tensors of the network by path, read from the file."""
  tensors = weight_files.tensors(file, [pair.key for pair in pairs])
  return {
    pair.ours.path: tensor.transpose(pair.axes).reshape(pair.ours.shape)
    for pair, tensor in zip(pairs, tensors, strict=True)
  }


def to_variables(flat: dict[tuple[str, ...], PyTree]) -> tuple[PyTree, PyTree]:
  """Tensors by path -> params, model_state."""
  model_state = traverse_util.unflatten_dict(flat)
  return model_state.pop("params"), model_state


def _numbered(file: WeightFile, kind: str) -> Iterator[str]:
  """conv2d, conv2d_1, ..., whatever the number they begin with."""
  names = [n for n in file.layers if re.fullmatch(rf"{kind}(_\d+)?", n)]
  return iter(sorted(names, key=lambda n: int(n[len(kind) + 1 :] or 0)))


def _pair(ours: Ours, name: str, tensor: Tensor | None, file: WeightFile):
  shape, axes = _layout(ours, file.format == "safetensors")
  title = f"{'/'.join(ours.path[1:])} of shape {shape}"
  if tensor is None:
    raise ValueError(f"{name} is missing, which is to be {title}")
  if ours.path[-2] == layers.HEAD and len(tensor.shape) == 4:
    # The classifier as a 1x1 convolution.
    shape, axes = (1, 1, *shape), (0, 1, 2, 3)
  if tensor.shape != shape:
    raise ValueError(f"{name} has shape {tensor.shape} and is to be {title}")
  return Pair(ours, tensor.key, axes)


def _layout(ours: Ours, torch: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
  """The shape of a tensor in the file, and the file's axes in our order."""
  shape = ours.shape
  axes = tuple(range(len(shape)))
  if torch:
    axes = {4: (2, 3, 1, 0), 2: (1, 0)}.get(len(shape), axes)
  elif len(shape) == 4 and shape[2] == 1 and shape[:2] != (1, 1):
    axes = (0, 1, 3, 2)  # a depthwise kernel
  return tuple(shape[axes.index(i)] for i in range(len(shape))), axes
