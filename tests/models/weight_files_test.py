"""Tests of weight files, written here with only h5py and safetensors."""

import h5py
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.flax
import safetensors.numpy

from alcurr.models import weight_files

SHAPES = {
  "conv1": {"kernel": (3, 3, 3, 4), "bias": (4,)},
  "bn_conv1": {
    "gamma": (4,),
    "beta": (4,),
    "moving_mean": (4,),
    "moving_variance": (4,),
  },
  "sep": {"depthwise_kernel": (3, 3, 4, 1), "pointwise_kernel": (1, 1, 4, 2)},
}


def tensors(seed=0):
  rng = np.random.default_rng(seed)
  return {
    layer: {
      variable: rng.standard_normal(shape).astype(np.float32)
      for variable, shape in variables.items()
    }
    for layer, variables in SHAPES.items()
  }


def write_legacy(path, layers, *, suffix="", group="", chunks=1, prefix=""):
  """Writes as Keras 2 did (with `suffix` ":0") and Keras 3 still can.

  Long lists of names are split into `chunks`. Names of a nested model have a
  prefix. `model.save` writes into a group.
  """
  with h5py.File(path, "w") as file:
    root = file.create_group(group) if group else file
    # Layers without weights are there as well.
    names = ["input_1", *layers, "relu"]
    if chunks == 1:
      root.attrs["layer_names"] = [name.encode() for name in names]
    else:
      for i, part in enumerate(np.array_split(names, chunks)):
        root.attrs[f"layer_names{i}"] = [str(name) for name in part]
    # HDF5 lists groups by name, not in the order of their creation.
    for name in sorted(names):
      variables = layers.get(name, {})
      keys = [f"{prefix}{name}/{v}{suffix}" for v in variables]
      layer = root.create_group(name)
      layer.attrs["weight_names"] = [key.encode() for key in keys]
      for key, tensor in zip(keys, variables.values(), strict=True):
        layer[key] = tensor
  return str(path)


def write_keras3(path, layers, *, names=True):
  """Writes as `model.save_weights` of Keras 3."""
  with h5py.File(path, "w") as file:
    file.create_group("vars")
    seed = file.create_group("layers/dropout/seed_generator/vars")
    seed.attrs["name"] = "seed_generator"
    seed["0"] = np.array([0, 1], np.uint32)
    for i, (name, variables) in enumerate(layers.items()):
      group = file.create_group(f"layers/some_class_{9 + i}/vars")
      if names:
        group.attrs["name"] = name
      for j, tensor in enumerate(variables.values()):
        group[str(j)] = tensor
  return str(path)


def assert_holds(file, layers):
  """Asserts the same layers, with the same tensors in the same order."""
  assert file.layers.keys() == layers.keys()
  for name, variables in layers.items():
    found = list(file.layers[name].values())
    assert [t.shape for t in found] == [x.shape for x in variables.values()]
    read = weight_files.read_tensors(file, [tensor.key for tensor in found])
    for x, expected in zip(read, variables.values(), strict=True):
      assert x.dtype == np.float32
      np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize(
  "how",
  [
    {},
    {"suffix": ":0"},
    {"group": "model_weights"},
    {"chunks": 3},
    {"prefix": "block_1/", "suffix": ":0"},
  ],
)
def test_legacy_keras(tmp_path, how):
  # The name of the file says nothing.
  file = weight_files.read(write_legacy(tmp_path / "x", tensors(), **how))
  assert file.format == "keras"
  assert_holds(file, tensors())
  for name, variables in SHAPES.items():
    assert list(file.layers[name]) == list(variables)


def test_keras_3(tmp_path):
  layers = tensors()
  # More than ten, which HDF5 lists as 0, 1, 10, 2, ...
  layers["many"] = {str(i): np.float32([i]) for i in range(12)}
  file = weight_files.read(write_keras3(tmp_path / "x.h5", layers))
  assert file.format == "keras3"
  assert_holds(file, layers)


def test_safetensors(tmp_path):
  path = str(tmp_path / "x")
  flat = {
    f"layer1.0.{k}.{v}": x for k, d in tensors().items() for v, x in d.items()
  }
  counter = {"layer1.0.bn_conv1.num_batches_tracked": np.int64(3)[None]}
  safetensors.numpy.save_file(flat | counter, path)
  file = weight_files.read(path)
  assert file.format == "safetensors"
  assert {k: v.keys() for k, v in file.layers.items()} == {
    f"layer1.0.{k}": v.keys() for k, v in SHAPES.items()
  }
  bias = file.layers["layer1.0.conv1"]["bias"]
  assert bias.shape == (4,)
  (x,) = weight_files.read_tensors(file, [bias.key])
  np.testing.assert_array_equal(x, tensors()["conv1"]["bias"])


def test_other_floats_become_float32(tmp_path):
  half = {"a": {"kernel": np.float16([[0.5, 2]])}}
  double = {"b": {"kernel": np.float64([[0.5, 2]])}}
  for layers in (half, double):
    file = weight_files.read(write_legacy(tmp_path / "x", layers))
    assert_holds(file, layers)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_floats_of_safetensors_become_float32(tmp_path, dtype):
  path = str(tmp_path / "x")
  written = {"a.weight": jnp.asarray([[0.5, 2]], dtype)}
  safetensors.flax.save_file(written, path)
  file = weight_files.read(path)
  assert file.layers == {"a": {"weight": ("a.weight", (1, 2))}}
  (x,) = weight_files.read_tensors(file, ["a.weight"])
  assert x.dtype == np.float32
  np.testing.assert_array_equal(x, [[0.5, 2]])


def test_digest_is_of_the_content(tmp_path):
  a, b, c = (
    write_keras3(tmp_path / name, tensors(seed))
    for name, seed in (("a", 0), ("b", 0), ("c", 1))
  )
  digests = [weight_files.digest(path) for path in (a, b, c)]
  assert digests[0] == digests[1] != digests[2]
  write_keras3(a, tensors(1))
  assert weight_files.digest(a) == digests[2]


def _nothing(path):
  return str(path)


def _folder(path):
  path.mkdir()
  return str(path)


def _bytes(content):
  def write(path):
    path.write_bytes(content)
    return str(path)

  return write


def _other_hdf5(path):
  with h5py.File(path, "w") as file:
    file["images"] = np.zeros(3)
  return str(path)


def _cut(write):
  def write_half(path):
    write(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return str(path)

  return write_half


def _safetensors(path):
  safetensors.numpy.save_file({"a.weight": np.zeros(99, np.float32)}, path)
  return str(path)


@pytest.mark.parametrize(
  ("write", "message"),
  [
    (_nothing, "no file"),
    (_folder, "no file"),
    # The first bytes of PyTorch's .pth and Keras's .keras.
    (_bytes(b"PK\x03\x04" + bytes(99)), "neither HDF5 nor safetensors"),
    (_bytes(b""), "neither HDF5 nor safetensors"),
    (_other_hdf5, "HDF5, but not"),
    (_cut(lambda path: write_legacy(path, tensors())), "damaged"),
    (_cut(_safetensors), "damaged"),
    (
      lambda path: write_keras3(path, tensors(), names=False),
      "no layer names",
    ),
  ],
)
def test_unreadable_files(tmp_path, write, message):
  path = write(tmp_path / "weights")
  with pytest.raises(ValueError, match=message) as error:
    weight_files.read(path)
  assert path in str(error.value)
