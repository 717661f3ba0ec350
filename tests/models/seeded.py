"""Seeded weights for our networks and for those they are compared with.

A weight depends only on its name in the original library and on its shape.
Both sides therefore have equal weights without each other's library. Names
are "layer/variable", with the original's layer and our variable
("conv1_bn/scale"). Arrays have our layout.
"""

import inspect
import itertools
import pathlib
import zlib

import jax
import numpy as np

from alcurr.models import MODELS, layers, matching
from alcurr.models._inception_resnet import SOURCES as INCEPTION_RESNET
from alcurr.models._mobilenet import SOURCES as MOBILENET
from alcurr.models._nasnet import LARGE_SOURCE, MOBILE_SOURCE
from alcurr.models._resnet import SOURCES as RESNET
from alcurr.models._se_resnext import SOURCES as SE_RESNEXT

# The sources of the layer names.
SOURCES = {
  "inception_resnet_v2": INCEPTION_RESNET[0],
  "mobilenet": MOBILENET[0],
  "nasnet_large": LARGE_SOURCE,
  "nasnet_mobile": MOBILE_SOURCE,
  "resnet50": RESNET[0],
  "se_resnext50_32x4d": SE_RESNEXT[0],
}
NUM_CLASSES = 10

GOLDEN_DIR = pathlib.Path(__file__).parent / "golden"
# (examples, size, modes, arguments) of the golden files, which compile in
# seconds. Larger images, which training of deep networks needs because batch
# norms of few values amplify rounding, would take longer.
GOLDEN = {
  "inception_resnet_v2": (4, 80, ("eval",), {}),
  "mobilenet": (8, 64, ("eval", "train"), {}),
  "nasnet_large": (8, 64, ("eval",), {"num_blocks": 1}),
  "nasnet_mobile": (8, 64, ("eval", "train"), {}),
  "resnet50": (8, 75, ("eval", "train"), {}),
  "se_resnext50_32x4d": (8, 64, ("eval", "train"), {}),
}


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """Draws weights that keep the scale of signals through many layers.

  They are uniform, so that their bits are the same on every machine.
  """
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  x = rng.random(shape, np.float32) - np.float32(0.5)
  if ".se" in name:
    x /= 4  # gates, which amplify rounding where they saturate
  variable = name.split("/")[-1]
  if variable.endswith("kernel"):
    return x * np.float32((12 * 2 / np.prod(shape[:-1])) ** 0.5)
  return x / 2 + np.float32(variable in ("scale", "var"))


def images(num: int, size: int) -> np.ndarray:
  x = np.random.default_rng(0).random((num, size, size, 3), np.float32)
  return 2 * x - 1


def checksum(by_name: dict[str, np.ndarray]) -> int:
  total = 0
  for name in sorted(by_name):
    total = zlib.crc32(np.ascontiguousarray(by_name[name]), total)
  return total


def relative_error(actual, expected) -> float:
  return np.abs(actual - expected).max() / np.abs(expected).max()


def flatten(tree, path=()):
  """Yields (path, leaf) of nested dicts, in their order."""
  for key, value in tree.items():
    if isinstance(value, dict):
      yield from flatten(value, (*path, key))
    else:
      yield (*path, key), value


def make_module(name, options):
  """Returns the Linen module of a network, without the shared `options`."""
  make = MODELS[name].__wrapped__
  own = options.keys() & inspect.signature(make).parameters
  return make(NUM_CLASSES, layers.Options(), **{k: options[k] for k in own})


def layer_names(module, size, source) -> dict[tuple[str, ...], str]:
  """Maps the path of each of our layers to its name in the original.

  Layers without a name in Keras are numbered in order of creation.
  """
  shapes = matching.shapes_of(module, (size, size, 3))
  paths = dict.fromkeys(path[1:-1] for path in shapes if path[0] == "params")
  numbers = {
    kind: itertools.count() for kind in ("conv2d", "batch_normalization")
  }

  def layer_name(path):
    if path[-1] == layers.HEAD:
      return source.head
    kind = "batch_normalization" if path[-1].endswith("_bn") else "conv2d"
    return source.layer(path) or f"{kind}_{next(numbers[kind])}"

  return {path: layer_name(path) for path in paths}


class Ours:
  """One of our networks with seeded weights and an oracle's interface."""

  def __init__(self, name, size, source=None, **options):
    if name == "mobilenet":
      options["dropout"] = 0.0
    self.model = MODELS[name](
      input_shape=(size, size, 3), num_classes=NUM_CLASSES, **options
    )
    module = make_module(name, options)
    self.names = layer_names(module, size, source or SOURCES[name])
    self.dtype = options.get("dtype", "float32")
    params, state = jax.eval_shape(self.model.init, jax.random.key(0))
    self.params = self._weights(params)
    self.state = {"batch_stats": self._weights(state["batch_stats"])}

  def _weights(self, tree):
    def make(path, leaf):
      *path, variable = (entry.key for entry in path)
      name = f"{self.names[tuple(path)]}/{variable}"
      return weight(name, leaf.shape).astype(self.dtype)

    return jax.tree_util.tree_map_with_path(make, tree)

  def by_name(self, *trees) -> dict[str, np.ndarray]:
    return {
      f"{self.names[path[:-1]]}/{path[-1]}": np.asarray(leaf)
      for tree in trees
      for path, leaf in flatten(tree)
    }

  def weights(self) -> dict[str, np.ndarray]:
    return self.by_name(self.params, self.state["batch_stats"])

  def logits(self, image, train: bool) -> np.ndarray:
    return np.asarray(self._run(self.params, image, train))

  def grads(self, image, slope, train: bool) -> dict[str, np.ndarray]:
    """Returns the gradients of the sum of slope * logits."""

    def fun(params):
      return (self._run(params, image, train) * slope).sum()

    return self.by_name(jax.jit(jax.grad(fun))(self.params))

  def _run(self, params, image, train):
    apply = jax.jit(self.model.apply, static_argnames="train")
    key = jax.random.key(0)
    return apply(key, params, self.state, image, train=train)[0]
