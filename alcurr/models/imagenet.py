"""Factories of networks that may start from a file of ImageNet weights.

The classifier is new; everything else comes from the file (see `matching`).
The network sees images as it was trained to: channel c of an RGB image from 0
to 1 becomes s_c x + o_c, with the source's `preprocessing`. An image x of one
channel may be tripled. Otherwise, the first kernel K is summed over its
inputs. With x' = a x + b, where a and b are the means of s and o,

  sum_c K_c * (s_c x + o_c) =
    (sum_c s_c / a K_c) * x' + (sum_c (o_c - b s_c / a) K_c) * 1

The network sees x' and, unless its kernel is zero, a channel of ones. Both
are padded by zeros, as a tripled image is.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from alcurr.core import paths
from alcurr.core.arguments import check_choice
from alcurr.models import adapters, layers, matching, weight_files
from alcurr.models.matching import Source
from alcurr.types import Array, Model, PyTree

# The order of the channels out of RGB, their scales and their offsets, as in
# keras.applications.imagenet_utils and torchvision's normalize.
PREPROCESSING = {
  "tf": ((0, 1, 2), (2.0, 2.0, 2.0), (-1.0, -1.0, -1.0)),
  "caffe": ((2, 1, 0), (255.0, 255.0, 255.0), (-103.939, -116.779, -123.68)),
  "torch": (
    (0, 1, 2),
    (1 / 0.229, 1 / 0.224, 1 / 0.225),
    (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225),
  ),
}


def factory(
  min_size: int, *sources: Source
) -> Callable[[Callable[..., nn.Module]], Callable[..., Model]]:
  """Makes a factory of models from a function that builds the module.

  The function takes `num_classes`, `options` and arguments of its own. The
  factory takes the arguments of every network, see `alcurr.models`, and the
  function's own, all by name. It raises ValueError where one is out of range,
  or the file of weights cannot be read or does not fit. `min_size` is of H and
  W, and the weights come from one of `sources`.
  """

  def decorate(make_module: Callable[..., nn.Module]) -> Callable[..., Model]:
    def build(
      *,
      input_shape: tuple[int, int, int],
      num_classes: int,
      width: float = 1.0,
      norm: str = "batch",
      conv: str = "auto",
      dtype: str = "float32",
      remat: bool = False,
      weights: str = "",
      one_channel: str = "sum",
      **own: Any,
    ) -> Model:
      options = layers.Options(norm, conv, dtype, remat, width)
      module = make_module(num_classes, options, **own)
      layers.check_arguments(input_shape, min_size, num_classes, norm)
      check_choice(("sum", "triple"), one_channel=one_channel)
      if not weights:
        return adapters.from_linen(module, input_shape, head=layers.HEAD)
      if norm != "batch":
        raise ValueError(
          "norm must be 'batch', whose statistics the weights come with; got "
          f"{norm!r}"
        )
      return _from_weights(module, input_shape, sources, weights, one_channel)

    # Specs read the names and types of arguments from the signature.
    signature = inspect.signature(build)
    shared = list(signature.parameters.values())[:-1]
    own = list(inspect.signature(make_module).parameters.values())[2:]
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    functools.update_wrapper(build, make_module)
    build.__signature__ = signature.replace(parameters=shared + own)
    return build

  return decorate


def _from_weights(
  module: nn.Module,
  input_shape: tuple[int, int, int],
  sources: tuple[Source, ...],
  weights: str,
  one_channel: str,
) -> Model:
  """Builds a model that starts from the file `weights` of one of `sources`."""
  weights = str(paths.absolute(weights, "weights"))
  file = weight_files.read(weights)
  source = matching.source_of(file, sources)
  module = module.clone(**source.fields)
  prepare, mix = _make_input(input_shape[-1], source.preprocessing, one_channel)
  shapes = matching.shapes_of(module, tuple(input_shape))
  origins = matching.match(shapes, source, file)
  fingerprint = weight_files.digest(weights)
  stem = next(iter(origins))

  def read() -> tuple[PyTree, PyTree]:
    if weight_files.digest(weights) != fingerprint:
      raise ValueError(f"{weights} has changed since the run began")
    flat = matching.read_variables(file, origins)
    kernel = np.einsum("hwio,ij->hwjo", flat[stem], mix)
    flat[stem] = kernel.astype(np.float32)
    return matching.unflatten(flat)

  height, width, _, channels = shapes[stem]
  own = {path: shapes[path] for path in origins}
  own[stem] = (height, width, mix.shape[1], channels)
  own = {p: jax.ShapeDtypeStruct(s, jnp.float32) for p, s in own.items()}
  # Only the classifier: compiling the init of a whole network takes long.
  head = nn.Dense(module.num_classes, kernel_init=layers.glorot_uniform)
  features = np.zeros(shapes["params", layers.HEAD, "kernel"][0])

  def init(key: Array) -> tuple[PyTree, PyTree]:
    # A callback, because constants would dominate the program. Without
    # arguments, it runs once for all trials under vmap.
    params, model_state = jax.pure_callback(read, matching.unflatten(own))
    classifier = head.init(key, features)["params"]
    return {**params, layers.HEAD: classifier}, model_state

  network = adapters.from_linen(module, input_shape, head=layers.HEAD)

  def apply(key, params, model_state, image, *, train):
    image = prepare(image)
    return network.apply(key, params, model_state, image, train=train)

  def features_of(params, model_state, image):
    return network.features(params, model_state, prepare(image))

  return Model(init, apply, fingerprint, features_of)


def _make_input(
  channels: int, preprocessing: str, one_channel: str
) -> tuple[Callable[[Array], Array], np.ndarray]:
  """Returns how an image [B, H, W, channels] is prepared, and a mix.

  The mix [3, C] writes the source's channels as sums of the prepared ones.
  """
  order, scale, offset = map(np.array, PREPROCESSING[preprocessing])

  def preprocess(image: Array) -> Array:
    image = jnp.broadcast_to(image, (*image.shape[:-1], 3))
    return image[..., order] * jnp.float32(scale) + jnp.float32(offset)

  if channels not in (1, 3):
    raise ValueError(
      "input_shape must have 3 channels (RGB) or 1 (see one_channel) to start "
      f"from weights, got {channels}"
    )
  if channels == 3 or one_channel == "triple":
    return preprocess, np.eye(3)
  a, b = float(scale.mean()), float(offset.mean())
  mix = np.stack([scale / a, offset - b * scale / a], axis=1)
  if not mix[:, 1].any():
    return lambda image: a * image + b, mix[:, :1]

  def with_ones(image: Array) -> Array:
    return jnp.concatenate([a * image + b, jnp.ones_like(image)], axis=-1)

  return with_ones, mix
