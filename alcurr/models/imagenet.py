"""Networks that start from a user's file of ImageNet weights.

The classifier is new, all else is the file's (see `matching`). The network
sees images as it was trained to: RGB from 0 to 1 becomes s x + o, by channel,
in the source's `preprocessing`. An image x of one channel may be tripled. Or
the first kernel K is summed over its inputs: with x' = a x + b, where a and b
are the means of s and o,

  sum_c K_c * (s_c x + o_c) =
    (sum_c s_c / a K_c) * x' + (sum_c (o_c - b s_c / a) K_c) * 1

so the network sees x' and, unless its kernel is zero, a channel of ones; the
zeros that pad x' pad the ones too, as those of a tripled image do.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from alcurr.models import adapters, checks, layers, matching, weight_files
from alcurr.models.matching import Source
from alcurr.models.weight_files import WeightFile
from alcurr.types import Array, Model, PyTree

__all__ = ["PREPROCESSING", "Source", "load", "make_model", "source_of"]

# The order of channels out of RGB, their scales and offsets.
PREPROCESSING = {
  "tf": ((0, 1, 2), (2.0, 2.0, 2.0), (-1.0, -1.0, -1.0)),
  "caffe": ((2, 1, 0), (255.0, 255.0, 255.0), (-103.939, -116.779, -123.68)),
  "torch": (
    (0, 1, 2),
    (1 / 0.229, 1 / 0.224, 1 / 0.225),
    (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225),
  ),
}

ONE_CHANNEL = ("sum", "triple")


class _Feed(NamedTuple):
  """How images reach the network."""

  channels: int  # that the network sees
  prepare: Callable[[Array], Array]  # image [B, H, W, C] -> what it sees
  # The three channels of the source as sums of these, [3, channels].
  mix: np.ndarray


def source_of(path: str, sources: tuple[Source, ...]) -> Source:
  """The source that a file's layers are named after.

  Raises:
    ValueError: it cannot be read, or is none of several sources'.
  """
  return matching.source_of(weight_files.read(path), sources)


def load(
  module: nn.Module,
  image_shape: tuple[int, int, int],
  source: Source,
  file: WeightFile,
  *,
  with_head: bool = False,
) -> tuple[PyTree, PyTree]:
  """The file's weights as those of a network for RGB.

  Args:
    module: its number of classes is the file's where that has a part.
    image_shape: (H, W, C), of any C.
    source: whose the file is.
    file: the weights.
    with_head: whether the classifier comes from the file too; else there is
      none.

  Returns:
    params and model_state, of NumPy arrays.

  Raises:
    ValueError: a tensor is missing, left over or of another shape.
  """
  network = matching.layers_of(module, tuple(image_shape))
  pairs = matching.match(network, source, file, with_head)
  return matching.to_variables(matching.assemble(file, pairs))


def make_model(
  module: nn.Module,
  image_shape: tuple[int, int, int],
  sources: tuple[Source, ...],
  weights: str,
  one_channel: str,
) -> Model:
  """A network that starts from weights, or at random.

  Args:
    module: see `adapters.from_linen`, with the fields of a network.
    image_shape: (H, W, C).
    sources: of whom the file may be.
    weights: its path, "" to start at random.
    one_channel: what is done about images of one channel, "sum" or "triple".

  Raises:
    ValueError: the file cannot be read, or does not fit.
  """
  checks.check_choice("one_channel", one_channel, ONE_CHANNEL)
  if not weights:
    return adapters.from_linen(module, image_shape)
  if module.options.norm != "batch":
    raise ValueError(
      "weights come with the statistics of batch norms: norm must be 'batch', "
      f"got {module.options.norm!r}"
    )
  file = weight_files.read(weights)
  source = matching.source_of(file, sources)
  feed = _make_feed(image_shape[-1], source.preprocessing, one_channel)
  network = adapters.from_linen(module, (*image_shape[:2], feed.channels))

  def apply(
    key: Array,
    params: PyTree,
    model_state: PyTree,
    image: Array,
    *,
    train: bool,
  ) -> tuple[Array, PyTree]:
    image = feed.prepare(image)
    return network.apply(key, params, model_state, image, train=train)

  init = _make_init(module, image_shape, source, file, feed)
  return Model(init, apply, weight_files.digest(weights))


def _make_init(
  module: nn.Module,
  image_shape: tuple[int, int, int],
  source: Source,
  file: WeightFile,
  feed: _Feed,
) -> Callable[[Array], tuple[PyTree, PyTree]]:
  """The file's weights, the same for every key, and a head of the key's."""
  network = matching.layers_of(module, tuple(image_shape))
  pairs = matching.match(network, source, file, with_head=False)
  fingerprint = weight_files.digest(file.path)
  # The head alone: a program of the whole network takes long to compile.
  head = nn.Dense(module.num_classes, kernel_init=layers.glorot_uniform)
  features = np.zeros(network[layers.HEAD,]["kernel"].shape[0])

  first = pairs[0].ours.path
  flat = {
    pair.ours.path: jax.ShapeDtypeStruct(pair.ours.shape, jnp.float32)
    for pair in pairs
  }
  height, width, _, channels = flat[first].shape
  flat[first] = jax.ShapeDtypeStruct(
    (height, width, feed.channels, channels), jnp.float32
  )
  shapes = matching.to_variables(flat)

  def read() -> tuple[PyTree, PyTree]:
    if weight_files.digest(file.path) != fingerprint:
      raise ValueError(f"{file.path} has changed since the run began")
    flat = matching.assemble(file, pairs)
    kernel = np.einsum("hwio,ij->hwjo", flat[first], feed.mix)
    flat[first] = kernel.astype(np.float32)
    return matching.to_variables(flat)

  def init(key: Array) -> tuple[PyTree, PyTree]:
    # Read when the program runs, as constants they would be most of it; and
    # without arguments, hence once for all trials under vmap.
    params, model_state = jax.pure_callback(read, shapes)
    new = head.init(key, features)["params"]
    return {**params, layers.HEAD: new}, model_state

  return init


def _make_feed(channels: int, preprocessing: str, one_channel: str) -> _Feed:
  order, scale, offset = map(np.array, PREPROCESSING[preprocessing])

  def preprocess(image: Array) -> Array:
    return image[..., order] * jnp.float32(scale) + jnp.float32(offset)

  if channels == 3:
    return _Feed(3, preprocess, np.eye(3))
  if channels != 1:
    raise ValueError(
      "weights are for images of 3 channels (RGB), or of 1, see one_channel; "
      f"got {channels}"
    )
  if one_channel == "triple":
    triple = lambda image: preprocess(image.repeat(3, axis=-1))  # noqa: E731
    return _Feed(3, triple, np.eye(3))
  a, b = float(scale.mean()), float(offset.mean())
  mix = np.stack([scale / a, offset - b * scale / a], axis=1)
  if not mix[:, 1].any():
    return _Feed(1, lambda image: a * image + b, mix[:, :1])

  def with_ones(image: Array) -> Array:
    return jnp.concatenate([a * image + b, jnp.ones_like(image)], axis=-1)

  return _Feed(2, with_ones, mix)
