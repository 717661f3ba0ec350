"""The six networks as Keras 3 and timm have them, with seeded weights.

`python tests/models/oracles.py` writes `golden/` from oracles in float64. It
needs the extra `parity`.
"""

import contextlib
import copy
import importlib.abc
import importlib.machinery
import os
import sys
import types
import unittest.mock

import jax
import numpy as np
import seeded

# Keras's and PyTorch's names of variables -> ours.
VARIABLES = {
  "gamma": "scale",
  "beta": "bias",
  "moving_mean": "mean",
  "moving_variance": "var",
  "running_mean": "mean",
  "running_var": "var",
}


def import_keras():
  """Imports Keras on JAX; the first import fixes the backend."""
  os.environ["KERAS_BACKEND"] = "jax"
  import keras

  return keras


def make_keras(name, size, *, num_blocks=None, **options):
  """Builds Keras's network at random; by default with a classifier."""
  keras = import_keras()
  keras.backend.clear_session()  # restarts the numbers of unnamed layers
  options = {
    "input_shape": (size, size, 3),
    "weights": None,
    "classes": seeded.NUM_CLASSES,
    "classifier_activation": None,
  } | options
  if name == "mobilenet":
    return keras.applications.MobileNet(dropout=0.0, **options)
  if num_blocks:
    from keras.src.applications.nasnet import NASNet

    return NASNet(  # NASNetLarge with another number of blocks
      penultimate_filters=4032,
      num_blocks=num_blocks,
      stem_block_filters=96,
      skip_reduction=True,
      filter_multiplier=2,
      **options,
    )
  title = {
    "inception_resnet_v2": "InceptionResNetV2",
    "nasnet_large": "NASNetLarge",
    "nasnet_mobile": "NASNetMobile",
    "resnet50": "ResNet50",
  }[name]
  return getattr(keras.applications, title)(**options)


def fill_keras(model) -> dict[int, tuple[str, tuple[int, ...]]]:
  """Assigns the weights; returns (name, our shape) by a variable's id."""
  known = {}
  for layer in model.layers:
    title = layer.name
    if title in ("conv2d", "batch_normalization"):
      title += "_0"
    for variable in layer.weights:
      shape = tuple(variable.shape)
      if type(layer).__name__ == "DepthwiseConv2D" or (
        variable.name == "depthwise_kernel"
      ):
        shape = (*shape[:2], 1, shape[2])  # from [h, w, C, 1]
      elif title == "conv_preds":
        shape = shape[-2:]  # a 1x1 convolution
      name = f"{title}/{VARIABLES.get(variable.name, variable.name)}"
      variable.assign(seeded.weight(name, shape).reshape(variable.shape))
      known[id(variable)] = name, shape
  return known


class KerasOracle:
  """See `seeded.Ours`."""

  def __init__(self, name, size, dtype="float32", **options):
    self.dtype = dtype
    with self._precision():
      self.model = make_keras(name, size, **options)
      self.known = fill_keras(self.model)

  @contextlib.contextmanager
  def _precision(self):
    """Prevents Keras on JAX from casting some float64 to float32."""
    config = import_keras().config
    from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE

    config.set_floatx(self.dtype)
    try:
      with (
        jax.enable_x64(self.dtype == "float64"),
        unittest.mock.patch.dict(BIT64_TO_BIT32_DTYPE, float64=self.dtype),
      ):
        yield
    finally:
      config.set_floatx("float32")

  def _by_name(self, variables, values):
    by_name = {}
    for variable, value in zip(variables, values, strict=True):
      name, shape = self.known[id(variable)]
      by_name[name] = np.asarray(value).reshape(shape)
    return by_name

  def weights(self):
    variables = self.model.weights
    return self._by_name(variables, [v.value for v in variables])

  def _run(self, params, image, train):
    state = [v.value for v in self.model.non_trainable_variables]
    return self.model.stateless_call(params, state, image, training=train)[0]

  def logits(self, image, train):
    params = [v.value for v in self.model.trainable_variables]
    with self._precision():
      run = jax.jit(self._run, static_argnums=2)
      return np.asarray(run(params, image, train))

  def grads(self, image, slope, train):
    def fun(params):
      return (self._run(params, image, train) * slope).sum()

    variables = self.model.trainable_variables
    with self._precision():
      grads = jax.jit(jax.grad(fun))([v.value for v in variables])
    return self._by_name(variables, grads)


class _AnyName(type):
  def __getattr__(cls, name):
    return name


class _AnyClass(types.ModuleType):
  __path__ = ()

  def __getattr__(self, name):
    if name.startswith("__"):
      raise AttributeError(name)
    return _AnyName(name, (), {})


class _StandIn(importlib.abc.MetaPathFinder, importlib.abc.Loader):
  """A stand-in for torchvision, of which timm only needs names."""

  def find_spec(self, name, path=None, target=None):
    if name.split(".")[0] == "torchvision":
      return importlib.machinery.ModuleSpec(name, self, is_package=True)
    return None

  def create_module(self, spec):
    return _AnyClass(spec.name)

  def exec_module(self, module):
    pass


def import_timm():
  if not any(isinstance(finder, _StandIn) for finder in sys.meta_path):
    sys.meta_path.append(_StandIn())
  import timm

  return timm


class TimmOracle:
  """See `seeded.Ours`."""

  def __init__(self, dtype="float32", title="seresnext50_32x4d"):
    import torch

    self.torch = torch
    self.dtype = getattr(torch, dtype)
    model = import_timm().create_model(title, num_classes=seeded.NUM_CLASSES)
    self.model = model.to(self.dtype)
    for key, tensor in self.model.state_dict().items():
      if tensor.ndim:  # not num_batches_tracked
        shape = to_ours(np.empty(tensor.shape)).shape
        value = to_torch(seeded.weight(torch_name(key, tensor.ndim), shape))
        tensor.copy_(torch.tensor(value))

  def weights(self):
    return self._by_name(self.model.state_dict())

  def _by_name(self, tensors):
    return {
      torch_name(key, tensor.ndim): to_ours(tensor.numpy())
      for key, tensor in tensors.items()
      if tensor.ndim
    }

  def _run(self, image, train):
    # A copy, because training updates the statistics.
    model = copy.deepcopy(self.model).train(train)
    image = self.torch.tensor(image.transpose(0, 3, 1, 2), dtype=self.dtype)
    return model, model(image)

  def logits(self, image, train):
    return self._run(image, train)[1].detach().numpy()

  def grads(self, image, slope, train):
    model, logits = self._run(image, train)
    (logits * self.torch.tensor(slope)).sum().backward()
    return self._by_name({k: p.grad for k, p in model.named_parameters()})


def torch_name(key: str, ndim: int) -> str:
  """Maps bn1.weight to bn1/scale and conv1.weight to conv1/kernel."""
  layer, variable = key.rsplit(".", 1)
  if variable == "weight":
    variable = "scale" if ndim == 1 else "kernel"
  return f"{layer}/{VARIABLES.get(variable, variable)}"


def to_ours(x: np.ndarray) -> np.ndarray:
  """Transposes OIHW to HWIO and OI to IO."""
  return x.transpose((2, 3, 1, 0)) if x.ndim == 4 else x.T


def to_torch(x: np.ndarray) -> np.ndarray:
  return x.transpose((3, 2, 0, 1)) if x.ndim == 4 else x.T


def make_oracle(name, size, dtype="float32", **options):
  if name == "se_resnext50_32x4d":
    return TimmOracle(dtype, **options)
  return KerasOracle(name, size, dtype, **options)


def write_golden(name):
  num, size, modes, options = seeded.GOLDEN[name]
  oracle = make_oracle(name, size, "float64", **options)
  image = seeded.images(num, size)
  weights = {k: np.float32(w) for k, w in oracle.weights().items()}
  logits = {
    mode: np.float32(oracle.logits(image, train=mode == "train"))
    for mode in modes
  }
  np.savez(
    seeded.GOLDEN_DIR / f"{name}.npz",
    weights=seeded.checksum(weights),
    image=seeded.checksum({"": image}),
    **logits,
  )


if __name__ == "__main__":
  seeded.GOLDEN_DIR.mkdir(exist_ok=True)
  for name in seeded.GOLDEN:
    write_golden(name)
    print(f"wrote {name}", flush=True)
