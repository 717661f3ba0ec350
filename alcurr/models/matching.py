"""Matches the tensors of a weights file with those of a network.

A layer is looked up in the file by its name (see `Source`). A variable of a
layer is matched by position in Keras's files, whose variable names differ
between versions, and by name in timm's. Every tensor of the network comes
from the file, and every tensor of the file is used. The classifier, which is
always new, is the only exception. For the libraries' licenses, see
`weight_files`.
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
from alcurr.models.weight_files import WeightFile
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

Path = tuple[str, ...]  # collection, layers, name of the variable
Shapes = dict[Path, tuple[int, ...]]  # in order of creation
# The key in the file, and the file's axes in the network's order.
Origin = tuple[str, tuple[int, ...]]


class Source(NamedTuple):
  """A published set of weights for a network."""

  name: str
  file: str  # its usual name
  head: str = "predictions"  # the layer of the classifier
  preprocessing: str = "tf"  # a key of imagenet.PREPROCESSING
  # Maps the path of a layer in the network to its name in the file. None means
  # that the file numbers it by creation: conv2d_7, batch_normalization_7.
  layer: Callable[[tuple[str, ...]], str | None] = lambda path: path[-1]
  # Fields that the module must have for these weights.
  fields: Mapping[str, Any] = {}


@functools.lru_cache(maxsize=8)  # deep networks take seconds
def shapes_of(module: nn.Module, input_shape: tuple[int, int, int]) -> Shapes:
  """Returns the shapes that a network has for RGB images of this size."""
  # Transformations such as remat sort dicts, and "lax" is fastest to trace.
  options = dataclasses.replace(module.options, remat=False, conv="lax")
  plain, shapes = module.clone(options=options), {}

  def init(key: Array, image: Array) -> None:
    variables = dict(plain.init({"params": key}, image, train=False))
    for path, x in traverse_util.flatten_dict(variables).items():
      shapes[path] = x.shape

  image = jnp.zeros((1, *input_shape[:2], 3), jnp.float32)
  jax.eval_shape(init, jax.random.key(0), image)
  return shapes


def source_of(file: WeightFile, sources: tuple[Source, ...]) -> Source:
  """Returns the source whose layer names the file has; a single one unchecked.

  Raises:
    ValueError: the file matches none of several sources.
  """
  for source in sources:
    if len(sources) == 1 or source.layer(_STEM) in file.layers:
      return source
  stems = " or ".join(source.layer(_STEM) or "" for source in sources)
  known = " or ".join(f"{source.name} ({source.file})" for source in sources)
  raise ValueError(f"{file.path} has no layer {stems}: expected {known}")


def match(
  shapes: Shapes, source: Source, file: WeightFile
) -> dict[Path, Origin]:
  """Returns the origin of every tensor but the classifier's, the stem's first.

  Raises:
    ValueError: a tensor is missing, unused or of another shape.
  """

  def misfit(text: str) -> ValueError:
    return ValueError(
      f"{file.path} does not fit the network: {text}; expected {source.name} "
      f"({source.file}) of the same width and blocks"
    )

  torch = file.format == "safetensors"
  unused = {name: dict(tensors) for name, tensors in file.layers.items()}
  unused.pop(source.head, None)
  origins = {}
  for name, paths in _file_layers(shapes, source, file):
    tensors = unused.get(name, {})
    for path in sorted(paths, key=lambda path: list(VARIABLES).index(path[-1])):
      key = VARIABLES[path[-1]] if torch else next(iter(tensors), path[-1])
      tensor = tensors.pop(key, None)
      axes = _file_axes(shapes[path], torch)
      shape = tuple(shapes[path][i] for i in np.argsort(axes))
      if tensor is None or tensor.shape != shape:
        wrong = f"has shape {tensor.shape}" if tensor else "is missing"
        expected = f"expected {'/'.join(path[1:])} of shape {shape}"
        raise misfit(f"{name} {key} {wrong}: {expected}")
      origins[path] = tensor.key, axes
  for name, tensors in unused.items():
    for key, tensor in tensors.items():
      raise misfit(f"{name} {key} {tensor.shape} is not used")
  return origins


def read_variables(
  file: WeightFile, origins: dict[Path, Origin]
) -> dict[Path, np.ndarray]:
  """Reads the tensors of the network, by path."""
  keys, axes = zip(*origins.values(), strict=True)
  tensors = map(np.transpose, weight_files.read_tensors(file, keys), axes)
  return dict(zip(origins, tensors, strict=True))


def unflatten(flat: dict[Path, PyTree]) -> tuple[PyTree, PyTree]:
  """Returns params and model_state from tensors by path."""
  model_state = traverse_util.unflatten_dict(flat)
  return model_state.pop("params"), model_state


def _file_layers(
  shapes: Shapes, source: Source, file: WeightFile
) -> Iterator[tuple[str, list[Path]]]:
  """Yields each layer's name in the file and its variables' paths."""
  # The layers without a name, from whatever number they start at.
  numbered = {}
  for kind in ("conv2d", "batch_normalization"):
    names = [n for n in file.layers if re.fullmatch(rf"{kind}(_\d+)?", n)]
    names.sort(key=lambda n, kind=kind: int(n[len(kind) + 1 :] or 0))
    numbered[kind] = iter(names)
  by_layer = {}
  for path in shapes:
    by_layer.setdefault(path[1:-1], []).append(path)
  for layer, paths in by_layer.items():
    if layer[-1] == layers.HEAD:
      continue
    name = source.layer(layer)
    if name is None:
      norm = any(path[-1] == "mean" for path in paths)
      kind = "batch_normalization" if norm else "conv2d"
      name = next(numbered[kind], f"one more {kind}")
    yield name, paths


def _file_axes(shape: tuple[int, ...], torch: bool) -> tuple[int, ...]:
  """Returns the axes of the file's tensor in the network's order."""
  if torch and len(shape) == 4:
    return (2, 3, 1, 0)  # OIHW -> HWIO
  if len(shape) == 4 and shape[2] == 1 and shape[:2] != (1, 1):
    return (0, 1, 3, 2)  # a depthwise kernel
  return tuple(range(len(shape)))
