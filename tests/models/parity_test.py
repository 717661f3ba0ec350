"""Tests of the networks against Keras 3 on JAX and timm on PyTorch.

`pytest -m parity -s` (extra `parity`) runs them and prints each error. Logits
are compared in float32, to 1e-4 of the largest. Gradients are compared in
float64, as batch norms of few values amplify the rounding of float32 to a
hundredth; equal mathematics agrees to 1e-8.
"""

import types

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import safetensors.numpy
import seeded

from alcurr.models import layers, matching, weight_files
from alcurr.models._se_resnext import SOURCES as SE_RESNEXT

pytestmark = pytest.mark.parity

KERAS = [name for name in seeded.SOURCES if name != "se_resnext50_32x4d"]

# (examples, size): layers have even and odd sizes, except in mobilenet, which
# pads odd ones differently from Keras.
SIZES = {
  "inception_resnet_v2": (8, 107),
  "mobilenet": (8, 96),
  "nasnet_large": (4, 75),
  "nasnet_mobile": (8, 75),
  "resnet50": (8, 75),
  "se_resnext50_32x4d": (8, 75),
}


@pytest.mark.parametrize("name", SIZES)
def test_logits(name):
  num, size = SIZES[name]
  image = seeded.images(num, size)
  ours = seeded.Ours(name, size)
  oracle = oracles.make_oracle(name, size)
  assert seeded.checksum(ours.weights()) == seeded.checksum(oracle.weights())
  for train in (False, True):
    expected = oracle.logits(image, train)
    error = seeded.relative_error(ours.logits(image, train), expected)
    print(f"\n{name} {'train' if train else 'eval'} logits {error:.1e}")
    assert error <= 1e-4


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
  "name", ["mobilenet", "nasnet_mobile", "resnet50", "se_resnext50_32x4d"]
)
def test_gradients(name, train, monkeypatch):
  """Compares to 1e-8 of the largest entry of each tensor."""
  monkeypatch.setattr(layers, "DTYPES", ("float64",))
  # The networks ask for float32 features, classifiers and logits.
  float64 = types.SimpleNamespace(**vars(jnp) | {"float32": jnp.float64})
  monkeypatch.setattr(layers, "jnp", float64)
  image = seeded.images(4, 64)
  slope = np.random.default_rng(1).standard_normal((4, seeded.NUM_CLASSES))
  with jax.enable_x64(True):
    actual = seeded.Ours(name, 64, dtype="float64").grads(image, slope, train)
  oracle = oracles.make_oracle(name, 64, "float64")
  expected = oracle.grads(image, slope, train)
  assert actual.keys() == expected.keys()
  largest = max(np.abs(grad).max() for grad in expected.values())
  errors = {}
  for key, grad in expected.items():
    # In training, the gradient of a bias before a batch norm is only rounding.
    scale = max(np.abs(grad).max(), 1e-6 * largest)
    errors[key] = np.abs(actual[key] - grad).max() / scale
  worst = max(errors, key=errors.get)
  mode = "train" if train else "eval"
  print(f"\n{name} {mode} gradients {errors[worst]:.1e} ({worst})")
  assert errors[worst] <= 1e-8


def assert_same(actual, expected):
  assert actual.keys() == expected.keys()
  for key, x in expected.items():
    np.testing.assert_array_equal(actual[key], x, key)


def check_file(name, size, source, path):
  """Checks that all weights but the classifier's are those of the file."""
  file = weight_files.read(path)
  module = seeded.make_module(name, {})
  shapes = matching.shapes_of(module, (size, size, 3))
  origins = matching.match(shapes, source, file)
  params, state = matching.unflatten(matching.read_variables(file, origins))
  ours = seeded.Ours(name, size, source)
  expected = ours.weights()
  for variable in ("kernel", "bias"):
    del expected[f"{source.head}/{variable}"]
  assert_same(ours.by_name(params, state["batch_stats"]), expected)


def check_network(name, size, source, path, oracle, preprocess):
  """Checks that a network that starts from the file has the same logits.

  Images range from 0 to 1, and the classifier is the original's.
  """
  image = (seeded.images(4, size) + 1) / 2
  ours = seeded.Ours(name, size, source, weights=path)
  params, ours.state = ours.model.init(jax.random.key(0))
  ours.params = {**params, layers.HEAD: ours.params[layers.HEAD]}
  expected = oracle.logits(preprocess(image), False)
  error = seeded.relative_error(ours.logits(image, False), expected)
  print(f"\n{source.name} {size}, from its file: logits {error:.1e}")
  assert error <= 1e-4


def write_legacy(model, path):
  from keras.src.legacy.saving import legacy_h5_format

  with h5py.File(path, "w") as file:
    legacy_h5_format.save_weights_to_hdf5_group(file, model)


@pytest.mark.parametrize("name", KERAS)
def test_files_of_keras(name, tmp_path):
  source, size = seeded.SOURCES[name], seeded.GOLDEN[name][1]
  path = str(tmp_path / "x.weights.h5")
  oracle = oracles.KerasOracle(name, size)
  top = oracle.model
  no_top = oracles.make_keras(name, size, include_top=False)
  oracles.fill_keras(no_top)
  keras = oracles.import_keras()
  preprocess = {
    "inception_resnet_v2": keras.applications.inception_resnet_v2,
    "mobilenet": keras.applications.mobilenet,
    "nasnet_large": keras.applications.nasnet,
    "nasnet_mobile": keras.applications.nasnet,
    "resnet50": keras.applications.resnet,
  }[name].preprocess_input
  for model in (top, no_top):
    for write in (type(model).save_weights, write_legacy):
      write(model, path)
      check_file(name, size, source, path)
      (tmp_path / "x.weights.h5").unlink()
  write_legacy(no_top, path)
  check_network(
    name, size, source, path, oracle, lambda image: preprocess(255 * image)
  )
  (tmp_path / "x.weights.h5").unlink()  # of up to 350 MB


@pytest.mark.parametrize("source", SE_RESNEXT, ids=lambda source: source.name)
def test_files_of_timm(source, tmp_path):
  name, path = "se_resnext50_32x4d", str(tmp_path / "model.safetensors")
  title = source.name.removeprefix("timm's ")
  oracle = oracles.TimmOracle(title=title)
  tensors = {k: x.numpy() for k, x in oracle.model.state_dict().items()}
  config = oracle.model.default_cfg
  mean, std = np.float32(config["mean"]), np.float32(config["std"])
  head = f"{source.head}."
  no_top = {k: x for k, x in tensors.items() if not k.startswith(head)}
  for written in (tensors, no_top):
    safetensors.numpy.save_file(written, path)
    file = weight_files.read(path)
    assert matching.source_of(file, SE_RESNEXT) is source
    check_file(name, 64, source, path)
  for size in (64, 65):  # an even and an odd size before the max-pool
    check_network(
      name, size, source, path, oracle, lambda image: (image - mean) / std
    )
