"""Tests of networks that start from weights: a small one and two real ones.

The files are written here in the layouts and shapes of Keras and timm.
`parity_test.py` has files that those libraries wrote themselves.
"""

import dataclasses
import re

import flax.linen as nn
import h5py
import jax
import numpy as np
import pytest
import safetensors.numpy

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.models import MODELS, imagenet, layers, matching, weight_files
from alcurr.models import _se_resnext as se_resnext

# A tiny network's layers as Keras has them; "top" is the classifier.
NORM = ("gamma", "beta", "moving_mean", "moving_variance")
KERAS = {
  "conv1": {"kernel": (3, 3, 3, 8), "bias": (8,)},
  "bn1": dict.fromkeys(NORM, (8,)),
  "dw": {"depthwise_kernel": (3, 3, 8, 1)},
  "dw_bn": dict.fromkeys(NORM[1:], (8,)),
  "sep": {"depthwise_kernel": (3, 3, 8, 1), "pointwise_kernel": (1, 1, 8, 6)},
  "top": {"kernel": (6, 11), "bias": (11,)},
}
TORCH_NORM = ("weight", "bias", "running_mean", "running_var")


class Tiny(nn.Module):
  num_classes: int
  options: layers.Options

  @nn.compact
  def __call__(self, x, train):
    kit = layers.Kit(self.options, train)
    x = kit.conv(x, 8, 3, "conv1", "bn1", use_bias=True, stride=2)
    x = nn.relu(x)
    x = kit.conv(x, 8, 3, "dw", groups=0)
    unscaled = dataclasses.replace(kit, use_scale=False)
    x = nn.relu(unscaled.norm(x, "dw_bn"))
    x = layers.SeparableConv(kit, 6, 3, 1, name="sep")(x)
    return kit.logits(layers.mean_of_image(x), self.num_classes)


SOURCE = imagenet.Source("Keras's Tiny", "tiny.h5", "top", "tf")


def numbers(shapes, seed=0):
  """Draws each variable of each layer; variances are positive."""
  rng = np.random.default_rng(seed)
  return {
    layer: {
      variable: rng.uniform(0.5, 1.5, shape).astype(np.float32)
      * (1 if "var" in variable else rng.choice([-1, 1], shape))
      for variable, shape in variables.items()
    }
    for layer, variables in shapes.items()
  }


def write(path, tensors, how="keras"):
  """Writes a file as Keras ("keras", "keras3") or timm would."""
  if how == "timm":
    flat = {
      f"{layer}.{variable}": np.float32(x)
      for layer, variables in tensors.items()
      for variable, x in variables.items()
    }
    counters = {
      f"{layer}.num_batches_tracked": np.zeros((), np.int64)
      for layer, variables in tensors.items()
      if "running_var" in variables
    }
    safetensors.numpy.save_file(flat | counters, path)
    return str(path)
  with h5py.File(path, "w") as file:
    if how == "keras":
      file.attrs["layer_names"] = list(tensors)
    for i, (layer, variables) in enumerate(tensors.items()):
      if how == "keras":
        group = file.create_group(layer)
        group.attrs["weight_names"] = [f"{layer}/{v}:0" for v in variables]
        names = group.attrs["weight_names"]
      else:
        group = file.create_group(f"layers/class_{i}/vars")
        group.attrs["name"] = layer
        names = [str(j) for j in range(len(variables))]
      for name, x in zip(names, variables.values(), strict=True):
        group[name] = np.float32(x)
  return str(path)


def make(weights, channels=3, one_channel="sum", source=SOURCE, norm="batch"):
  return imagenet.factory(1, source)(Tiny)(
    input_shape=(9, 9, channels),
    num_classes=5,
    norm=norm,
    conv="lax",
    weights=weights,
    one_channel=one_channel,
  )


def load(module, input_shape, source, path):
  """Returns the params and model_state that a network takes from a file."""
  file = weight_files.read(path)
  shapes = matching.shapes_of(module, input_shape)
  origins = matching.match(shapes, source, file)
  return matching.unflatten(matching.read_variables(file, origins))


def assert_same(actual, expected):
  assert actual.shape == expected.shape
  np.testing.assert_array_equal(actual, expected)


def assert_starts_from(params, model_state, tensors):
  """Asserts the equality of every tensor but the classifier's."""
  stats = model_state["batch_stats"]
  gamma, beta, mean, variance = tensors["bn1"].values()
  assert_same(params["conv1"]["kernel"], tensors["conv1"]["kernel"])
  assert_same(params["conv1"]["bias"], tensors["conv1"]["bias"])
  assert_same(params["bn1"]["scale"], gamma)
  assert_same(params["bn1"]["bias"], beta)
  assert_same(stats["bn1"]["mean"], mean)
  assert_same(stats["bn1"]["var"], variance)
  beta, mean, variance = tensors["dw_bn"].values()
  assert set(params["dw_bn"]) == {"bias"}
  assert_same(params["dw_bn"]["bias"], beta)
  assert_same(stats["dw_bn"]["mean"], mean)
  assert_same(stats["dw_bn"]["var"], variance)
  depthwise, pointwise = tensors["sep"].values()
  kernels = {
    "dw": (params["dw"]["kernel"], tensors["dw"]["depthwise_kernel"]),
    "sep": (params["sep"]["depthwise_kernel"], depthwise),
  }
  for ours, theirs in kernels.values():
    assert ours.shape == (3, 3, 1, 8)
    for c in range(8):
      assert_same(ours[:, :, 0, c], theirs[:, :, c, 0])
  assert_same(params["sep"]["pointwise_kernel"], pointwise)


@pytest.mark.parametrize("top", ["dense", "conv", "none"])
@pytest.mark.parametrize("how", ["keras", "keras3"])
def test_keras(tmp_path, how, top):
  tensors = numbers(KERAS)
  if top == "conv":  # the classifier as a 1x1 convolution
    tensors["top"]["kernel"] = tensors["top"]["kernel"][None, None]
  elif top == "none":
    tensors["top"] = {}
  model = make(write(tmp_path / "x", tensors, how))
  params, model_state = model.init(jax.random.key(0))
  assert_starts_from(params, model_state, tensors)
  assert params["logits"]["kernel"].shape == (6, 5)
  assert model.fingerprint == weight_files.digest(tmp_path / "x")


def test_numbered_layers(tmp_path):
  """Keras numbers unnamed layers across all models of a process."""

  class Numbered(Tiny):
    @nn.compact
    def __call__(self, x, train):
      kit = layers.Kit(self.options, train, use_scale=False)
      for name in ("z", "named", "y", "x"):
        x = kit.conv(x, 3, 1, name, f"{name}_bn")
      return kit.logits(layers.mean_of_image(x), self.num_classes)

  source = SOURCE._replace(
    layer=lambda path: path[-1] if "named" in path[-1] else None
  )
  conv, norm = {"kernel": (1, 1, 3, 3)}, dict.fromkeys(NORM[1:], (3,))
  shapes = {
    # In the order of depth, which is not that of creation.
    "conv2d_100": conv,
    "batch_normalization_11": norm,
    "named": conv,
    "conv2d_98": conv,
    "batch_normalization_9": norm,
    "conv2d_99": conv,
    "batch_normalization_10": norm,
    "named_bn": norm,
  }
  tensors = numbers(shapes)
  path = write(tmp_path / "x", tensors)
  module = Numbered(5, layers.Options())
  params, model_state = load(module, (4, 4, 3), source, path)
  for ours, number in (("z", 98), ("y", 99), ("x", 100)):
    assert_same(params[ours]["kernel"], tensors[f"conv2d_{number}"]["kernel"])
    theirs = tensors[f"batch_normalization_{number - 89}"]
    assert_same(params[f"{ours}_bn"]["bias"], theirs["beta"])
    stats = model_state["batch_stats"][f"{ours}_bn"]
    assert_same(stats["mean"], theirs["moving_mean"])
  del tensors["conv2d_100"]
  with pytest.raises(ValueError, match="conv2d kernel is missing"):
    load(module, (4, 4, 3), source, write(tmp_path / "y", tensors))


def se_resnext_shapes(legacy):
  """Returns timm's shapes of SE-ResNeXt: one block per stage, width 1/4."""

  def bn(channels):
    return dict.fromkeys(TORCH_NORM, (channels,))

  first, se = ("layer0.", "se_module") if legacy else ("", "se")
  shapes = {
    f"{first}conv1": {"weight": (16, 3, 7, 7)},
    f"{first}bn1": bn(16),
  }
  inputs = 16
  for stage in range(4):
    width, out = 32 * 2**stage, 64 * 2**stage
    block = {
      "conv1": {"weight": (width, inputs, 1, 1)},
      "bn1": bn(width),
      "conv2": {"weight": (width, width // 32, 3, 3)},
      "bn2": bn(width),
      "conv3": {"weight": (out, width, 1, 1)},
      "bn3": bn(out),
      f"{se}.fc1": {"weight": (out // 16, out, 1, 1), "bias": (out // 16,)},
      f"{se}.fc2": {"weight": (out, out // 16, 1, 1), "bias": (out,)},
      "downsample.0": {"weight": (out, inputs, 1, 1)},
      "downsample.1": bn(out),
    }
    shapes |= {f"layer{stage + 1}.0.{k}": v for k, v in block.items()}
    inputs = out
  head = "last_linear" if legacy else "fc"
  return shapes | {head: {"weight": (11, 512), "bias": (11,)}}


@pytest.mark.parametrize("legacy", [False, True])
def test_timm(tmp_path, legacy):
  tensors = numbers(se_resnext_shapes(legacy))
  path = write(tmp_path / "model.safetensors", tensors, "timm")
  source = matching.source_of(weight_files.read(path), se_resnext.SOURCES)
  assert source is se_resnext.SOURCES[legacy]
  options = layers.Options(width=0.25)
  module = se_resnext.SEResNeXt(11, options, (1, 1, 1, 1))
  params, model_state = load(module, (32, 32, 3), source, path)
  assert "logits" not in params
  first, se = ("layer0.", "se_module") if legacy else ("", "se")
  for ours, theirs in (
    (params["conv1"], f"{first}conv1"),
    (params["stage3_block0"]["conv2"], "layer3.0.conv2"),
    (params["stage4_block0"]["se_fc1"], f"layer4.0.{se}.fc1"),
    (params["stage1_block0"]["downsample_conv"], "layer1.0.downsample.0"),
  ):
    for o in range(ours["kernel"].shape[-1]):
      for i in range(ours["kernel"].shape[-2]):
        assert_same(ours["kernel"][..., i, o], tensors[theirs]["weight"][o, i])
  ours, theirs = params["stage2_block0"]["bn3"], tensors["layer2.0.bn3"]
  assert_same(ours["scale"], theirs["weight"])
  assert_same(ours["bias"], theirs["bias"])
  stats = model_state["batch_stats"]["stage2_block0"]["bn3"]
  assert_same(stats["mean"], theirs["running_mean"])
  assert_same(stats["var"], theirs["running_var"])


def test_the_factory_of_se_resnext(tmp_path):
  tensors = numbers(se_resnext_shapes(legacy=True))
  path = write(tmp_path / "x", tensors, "timm")
  options = {
    "input_shape": (32, 32, 1),
    "num_classes": 3,
    "width": 0.25,
    "blocks": (1, 1, 1, 1),
  }
  model = MODELS["se_resnext50_32x4d"](weights=path, **options)
  params, _ = jax.eval_shape(model.init, jax.random.key(0))
  assert params["conv1"]["kernel"].shape == (7, 7, 2, 16)
  path = write(tmp_path / "y", numbers({"stem": KERAS["conv1"]}))
  with pytest.raises(ValueError) as error:
    MODELS["se_resnext50_32x4d"](weights=path, **options)
  for expected in (path, "layer0.conv1", "seresnext50_32x4d", "legacy_sere"):
    assert expected in str(error.value)


def images(channels):
  rng = np.random.default_rng(3)
  return rng.random((2, 9, 9, channels)).astype(np.float32)


# As documented in Keras's imagenet_utils and torchvision's normalize.
PREPROCESSED = {
  "tf": lambda x: x * 255 / 127.5 - 1,
  "caffe": lambda x: (
    255 * x[..., ::-1] - np.float32([103.939, 116.779, 123.68])
  ),
  "torch": lambda x: (
    (x - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
  ),
}


@pytest.mark.parametrize("preprocessing", PREPROCESSED)
def test_preprocessing_and_one_channel(tmp_path, preprocessing):
  """RGB is as documented, and gray as RGB of equal channels."""
  path = write(tmp_path / "x", numbers(KERAS))
  source = SOURCE._replace(preprocessing=preprocessing)
  key = jax.random.key(0)
  gray = images(1)

  def logits(image, one_channel="sum"):
    model = make(path, image.shape[-1], one_channel, source)
    variables = model.init(key)
    logits, _ = model.apply(key, *variables, image, train=False)
    head = variables[0][layers.HEAD]
    features = model.features(*variables, image)
    np.testing.assert_allclose(
      features @ head["kernel"] + head["bias"], logits, rtol=1e-5
    )
    return np.asarray(logits)

  def reference(image):
    params, model_state = make(path, 3, source=source).init(key)
    image = PREPROCESSED[preprocessing](image)
    module = Tiny(5, layers.Options(conv="lax"))
    return module.apply({"params": params, **model_state}, image, train=False)

  for image, expected in (
    (images(3), reference(images(3))),
    (gray, reference(gray.repeat(3, -1))),
  ):
    scale = np.abs(expected).max()
    for one_channel in ("sum", "triple"):
      np.testing.assert_allclose(
        logits(image, one_channel), expected, rtol=0, atol=1e-5 * scale
      )


def test_init_of_trials_in_one_program(tmp_path):
  """Tensors of the file are equal for all trials and not in the program."""
  tensors = numbers(KERAS)
  model = make(write(tmp_path / "x", tensors))
  keys = jax.random.split(jax.random.key(0), 3)
  init = jax.jit(jax.vmap(model.init))
  program = init.lower(keys).as_text()
  sizes = [
    np.prod([int(n) for n in shape.split("x")[:-1]], initial=1)
    for shape in re.findall(r"constant dense<.*> : tensor<(\S+)>", program)
  ]
  assert max(sizes) <= 36  # the classifier's bias and features
  params, model_state = init(keys)
  for i in range(3):
    one = jax.tree.map(lambda x, i=i: np.asarray(x[i]), (params, model_state))
    assert_starts_from(*one, tensors)
  kernel = np.asarray(params["logits"]["kernel"])
  assert kernel.shape == (3, 6, 5)
  for i, j in ((0, 1), (0, 2), (1, 2)):
    assert (kernel[i] != kernel[j]).all()
  # Uniform of variance 2 / (6 + 5).
  assert np.abs(kernel).max() <= np.sqrt(6 / 11)
  assert np.abs(kernel).max() > 0.8 * np.sqrt(6 / 11)
  again, _ = jax.jit(jax.vmap(model.init))(keys)
  assert_same(again["logits"]["kernel"], kernel)
  assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype("float32")}


def test_a_file_that_changes_during_the_run(tmp_path):
  model = make(write(tmp_path / "x", numbers(KERAS)))
  write(tmp_path / "x", numbers(KERAS, seed=1))
  with pytest.raises(Exception, match="x has changed since the run began"):
    jax.block_until_ready(model.init(jax.random.key(0)))


def mobilenet_shapes(alpha):
  """Keras's MobileNet with its top."""
  channels = [64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
  inputs = int(32 * alpha)
  shapes = {
    "conv1": {"kernel": (3, 3, 3, inputs)},
    "conv1_bn": dict.fromkeys(NORM, (inputs,)),
  }
  for i, c in enumerate(channels, start=1):
    outputs = int(c * alpha)
    shapes |= {
      f"conv_dw_{i}": {"depthwise_kernel": (3, 3, inputs, 1)},
      f"conv_dw_{i}_bn": dict.fromkeys(NORM, (inputs,)),
      f"conv_pw_{i}": {"kernel": (1, 1, inputs, outputs)},
      f"conv_pw_{i}_bn": dict.fromkeys(NORM, (outputs,)),
    }
    inputs = outputs
  return shapes | {"conv_preds": {"kernel": (1, 1, inputs, 9), "bias": (9,)}}


def test_mobilenet_of_a_config(tmp_path):
  tensors = numbers(mobilenet_shapes(0.25))
  path = write(tmp_path / "x", tensors)
  known = {"input_shape": (32, 32, 1), "num_classes": 5}
  spec = {"name": "mobilenet", "weights": path, "width": 0.25}
  model = specs.make(spec, MODELS, "model", **known)
  params, model_state = model.init(jax.random.key(0))
  # The preprocessing is the same for R, G and B.
  np.testing.assert_allclose(
    params["conv1"]["kernel"],
    tensors["conv1"]["kernel"].sum(2, keepdims=True),
    rtol=0,
    atol=1e-6,
  )
  assert_same(
    params["block_13"]["conv_pw_13"]["kernel"], tensors["conv_pw_13"]["kernel"]
  )
  stats = model_state["batch_stats"]["block_13"]["conv_pw_13_bn"]
  assert_same(stats["var"], tensors["conv_pw_13_bn"]["moving_variance"])
  random = specs.make({**spec, "weights": ""}, MODELS, "model", **known)
  assert random.fingerprint == ""
  with pytest.raises(UserError) as error:
    specs.make({**spec, "width": 0.5}, MODELS, "model", **known)
  for expected in (path, "conv1 kernel", "(3, 3, 3, 8)", "(3, 3, 3, 16)"):
    assert expected in str(error.value)


@pytest.mark.parametrize(
  ("layer", "variables", "message"),
  [
    ("dw", {}, r"dw kernel is missing.* dw/kernel .*\(3, 3, 8, 1\)"),
    ("dw_bn", {"beta": (8,)}, r"dw_bn mean is missing.* dw_bn/mean .*\(8,\)"),
    ("dw_bn", dict.fromkeys(NORM, (8,)), r"dw_bn moving_.* \(8,\) is not used"),
    ("extra", {"kernel": (2, 2)}, r"extra kernel \(2, 2\) is not used"),
    (
      "sep",
      {"depthwise_kernel": (3, 3, 8, 1), "pointwise_kernel": (1, 1, 8, 7)},
      r"sep pointwise_kernel .*\(1, 1, 8, 7\).*"
      r"sep/pointwise_kernel .*\(1, 1, 8, 6\)",
    ),
    (
      "dw",
      {"depthwise_kernel": (5, 5, 8, 1)},
      r"dw depthwise_kernel .*\(5, 5, 8, 1\).*\(3, 3, 8, 1\)",
    ),
  ],
)
def test_files_that_do_not_fit(tmp_path, layer, variables, message):
  path = write(tmp_path / "x", numbers({**KERAS, layer: variables}))
  with pytest.raises(ValueError, match=rf"{message}.*Keras's Tiny \(tiny.h5\)"):
    make(path)


@pytest.mark.parametrize(
  ("variables", "message"),
  [
    (
      {"weight": (8, 4, 3, 3), "bias": (8,)},
      r"conv1 weight .*\(8, 4, 3, 3\).* conv1/kernel .*\(8, 3, 3, 3\)",
    ),
    (
      {"weight": (8, 3, 3, 3)},
      r"conv1 bias is missing.* conv1/bias .*\(8,\)",
    ),
  ],
)
def test_torch_files_that_do_not_fit(tmp_path, variables, message):
  path = write(tmp_path / "x", numbers({"conv1": variables}), "timm")
  with pytest.raises(ValueError, match=message):
    make(path)


def test_bad_arguments(tmp_path):
  path = write(tmp_path / "x", numbers(KERAS))
  with pytest.raises(ValueError, match=r"norm .*'batch'.*'group'"):
    make(path, norm="group")
  for channels in (2, 4):
    with pytest.raises(ValueError, match=f"input_shape .*got {channels}"):
      make(path, channels)
  for weights in (path, ""):
    with pytest.raises(ValueError, match=r"one_channel .*'mean'"):
      make(weights, 3, "mean")
  with pytest.raises(ValueError, match="/no/such"):
    make("/no/such")
