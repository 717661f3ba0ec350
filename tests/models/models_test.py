"""Tests of the networks: sizes, statistics, independence, bad arguments."""

import functools
import itertools

import image_networks
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.models import MODELS, layers, lowerings
from alcurr.models import _nasnet as nasnet

# Few blocks, and the smallest size that the network takes.
SHALLOW = {
  "bayesian_cnn": {},
  "cnn": {},
  "mobilenet": {},
  "resnet50": {"blocks": (1, 1, 1, 1)},
  "se_resnext50_32x4d": {"blocks": (1, 1, 1, 1)},
  "inception_resnet_v2": {"blocks": (1, 1, 1)},
  "nasnet_mobile": {"num_blocks": 1},
  "nasnet_large": {"num_blocks": 1},
}
SMALLEST = {
  "bayesian_cnn": 4,
  "cnn": 4,
  "mobilenet": 17,
  "resnet50": 17,
  "se_resnext50_32x4d": 17,
  "inception_resnet_v2": 75,
  "nasnet_mobile": 19,
  "nasnet_large": 19,
}
# The momentum of the running statistics, as published.
MOMENTUM = {
  "bayesian_cnn": 0.99,
  "cnn": 0.99,
  "mobilenet": 0.99,
  "resnet50": 0.99,
  "se_resnext50_32x4d": 0.9,
  "inception_resnet_v2": 0.99,
  "nasnet_mobile": 0.9997,
  "nasnet_large": 0.9997,
}
KNOWN = {"input_shape": (80, 80, 1), "num_classes": 5}
# These take minutes to compile.
LARGE = {"inception_resnet_v2", "nasnet_large", "nasnet_mobile"}
# This does not, but its blocks are like those of resnet50.
LARGE |= {"se_resnext50_32x4d"}


def _slow(*values):
  return pytest.param(*values, marks=pytest.mark.slow)


def _param(name, *more):
  is_slow = name in LARGE or (name, *more) in (
    ("resnet50", "group"),
    ("mobilenet", "group"),
  )
  return (_slow if is_slow else pytest.param)(name, *more)


# Every network with batch norm, and some that do not mix examples.
SMALL = [
  *((name, "batch") for name in image_networks.NAMES),
  ("cnn", "none"),
  ("cnn", "group"),
  ("mobilenet", "group"),
  ("resnet50", "group"),
]
small = pytest.mark.parametrize(
  ("name", "norm"), [_param(*row) for row in SMALL]
)
each = pytest.mark.parametrize(
  "name", [_param(name) for name in image_networks.NAMES]
)
IMAGENET = sorted({*image_networks.NAMES} - {"bayesian_cnn", "cnn"})
imagenet = pytest.mark.parametrize("name", [_param(name) for name in IMAGENET])


def make(name, **options):
  """Builds a small network; by default with "lax", which compiles fastest."""
  options = {
    "input_shape": shape_of(name),
    "num_classes": 5,
    "width": 0.1,
    "conv": "lax",
    **SHALLOW[name],
  } | options
  return MODELS[name](**options)


def shape_of(name):
  """Returns the smallest size, neither even nor square."""
  return (SMALLEST[name], SMALLEST[name] + 8, 1)


def count(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def images(shape, num=8):
  """Draws random squares of 5 x 5 pixels, so that all images differ."""
  height, width, channels = shape
  rows, columns = -(-height // 5), -(-width // 5)
  x = np.random.default_rng(0).random((num, rows, columns, channels)) ** 2
  x = x.repeat(5, axis=1).repeat(5, axis=2)[:, :height, :width]
  return x.astype(np.float32)


def assert_close(actual, expected, noise=0.0):
  """Compares to 1e-3 of the largest entry.

  Statistics of eight examples amplify the rounding of many float32 layers.
  Leaves with no entry above `noise` are rounding alone, and must stay below it.
  """
  for a, e in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    largest = np.abs(e).max()
    if largest < noise:
      assert np.abs(a).max() < noise
    else:
      np.testing.assert_allclose(a, e, rtol=0, atol=1e-3 * largest)


@functools.cache
def apply_of(name, **options):
  return jax.jit(make(name, **options).apply, static_argnames="train")


@functools.cache
def variables(name, norm="batch"):
  """Returns arbitrary parameters, and the statistics of `images()`."""
  if norm == "group":  # has the parameters of batch norm
    return variables(name)[0], {}
  key = jax.random.key(0)
  params, model_state = jax.eval_shape(make(name, norm=norm).init, key)
  rng = np.random.default_rng(1)

  def draw(path, x):
    x = rng.standard_normal(x.shape, np.float32)
    if x.ndim > 1:
      return x * (2 / np.prod(x.shape[:-1])) ** 0.5
    return x / 9 + (getattr(path[-1], "key", "") == "scale")

  params = jax.tree_util.tree_map_with_path(draw, params)
  model_state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), model_state)
  _, model_state = apply_of(name, norm=norm)(
    key, params, model_state, images(shape_of(name)), train=True
  )
  # One step moves them from zero by a share of the batch's.
  share = 1 - MOMENTUM[name]
  return params, jax.tree.map(lambda x: x / np.float32(share), model_state)


@functools.cache
def results(name, norm="batch", train=False, **options):
  """Returns the logits and the state after `images()`."""
  params, model_state = variables(name, norm)
  return apply_of(name, norm=norm, **options)(
    jax.random.key(1), params, model_state, images(shape_of(name)), train=train
  )


@pytest.mark.parametrize(
  ("name", "size", "trainable", "total"),
  # As published with Keras; se_resnext50_32x4d as published with timm.
  [
    ("mobilenet", 224, 4_231_976, 4_253_864),
    _slow("nasnet_mobile", 224, 5_289_978, 5_326_716),
    _slow("nasnet_large", 331, 88_753_150, 88_949_818),
    _slow("inception_resnet_v2", 299, 55_813_192, 55_873_736),
    ("resnet50", 224, 25_583_592, 25_636_712),
    ("se_resnext50_32x4d", 224, 27_559_896, 27_628_120),
  ],
)
def test_published_size(name, size, trainable, total):
  model = MODELS[name](input_shape=(size, size, 3), num_classes=1000)
  params, model_state = jax.eval_shape(model.init, jax.random.key(0))
  assert count(params) == trainable
  assert count(params) + count(model_state) == total


def _table_1(width):
  """Counts trainable and all parameters of MobileNet v1 with 1,000 classes."""
  channels = [32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
  channels = [int(c * width) for c in channels]
  weights = 9 * 3 * channels[0]
  norms = channels[0]  # one scale, offset, mean and variance a channel
  for before, after in itertools.pairwise(channels):
    weights += 9 * before + before * after
    norms += before + after
  trainable = weights + 2 * norms + (channels[-1] + 1) * 1000
  return trainable, trainable + 2 * norms


@pytest.mark.parametrize(
  "width",
  [1.0, 0.25, *(_slow(width) for width in (0.75, 0.5))],
)
def test_mobilenet_has_the_papers_size(width):
  """Each layer of table 1 is a convolution and its norm."""
  model = MODELS["mobilenet"](
    input_shape=(224, 224, 3), num_classes=1000, width=width
  )
  params, model_state = jax.eval_shape(model.init, jax.random.key(0))
  trainable, total = _table_1(width)
  assert count(params) == trainable
  assert count(params) + count(model_state) == total


def test_cnn_size_by_hand():
  model = MODELS["cnn"](input_shape=(28, 28, 1), num_classes=10)
  params, model_state = jax.eval_shape(model.init, jax.random.key(0))
  convs = 9 * 1 * 32 + 32 + 9 * 32 * 64 + 64
  dense = 7 * 7 * 64 * 128 + 128 + 128 * 10 + 10
  assert count(params) == convs + dense
  assert model_state == {}


def conv(x, kernel, stride, groups=1):
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


def test_mobilenet_is_the_papers_table():
  """Howard et al. 2017, table 1, rebuilt from XLA's convolutions."""
  params, model_state = variables("mobilenet")
  x = images((28, 28, 1))
  stats = model_state["batch_stats"]

  def layer(x, block, name, stride, groups=1):
    tree, running = (params[block], stats[block]) if block else (params, stats)
    x = conv(x, tree[name]["kernel"], stride, groups)
    bn, running = tree[f"{name}_bn"], running[f"{name}_bn"]
    x = (x - running["mean"]) / jnp.sqrt(running["var"] + 1e-3)
    return jnp.clip(x * bn["scale"] + bn["bias"], 0, 6)

  strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
  widths = (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)

  @jax.jit
  def table(x):
    x = layer(x, "", "conv1", 2)
    for i, (stride, width) in enumerate(zip(strides, widths, strict=True), 1):
      block = f"block_{i}"
      x = layer(x, block, f"conv_dw_{i}", stride, groups=x.shape[-1])
      x = layer(x, block, f"conv_pw_{i}", 1)
      assert x.shape[-1] == width // 10
    assert x.shape[1:3] == (1, 1)
    head = params["logits"]
    return x.mean((1, 2)) @ head["kernel"] + head["bias"]

  logits, _ = apply_of("mobilenet")(
    jax.random.key(0), params, model_state, x, train=False
  )
  assert_close(logits, table(x))


@pytest.mark.parametrize(
  "name",
  [
    "cnn",
    pytest.param("mobilenet", marks=pytest.mark.slow),
    pytest.param("se_resnext50_32x4d", marks=pytest.mark.slow),
  ],
)
def test_lowerings_agree(name):
  """One set of variables, the same logits."""
  for lowering in lowerings.LOWERINGS:
    if lowering not in ("auto", "lax"):
      assert_close(results(name, conv=lowering)[0], results(name)[0])


@imagenet
def test_running_statistics_against_numpy(name):
  """Only the first layer is free of other layers' rounding."""
  params, model_state = variables(name)
  first, bias, stride, pads = {
    "mobilenet": ("conv1", "conv1_bn", 2, "SAME"),
    "resnet50": ("conv1_conv", "conv1_bn", 2, [(3, 3)] * 2),
    "se_resnext50_32x4d": ("conv1", "bn1", 2, [(3, 3)] * 2),
    "inception_resnet_v2": ("stem_1", "stem_1_bn", 2, "VALID"),
    "nasnet_mobile": ("stem_conv1", "stem_bn1", 2, "VALID"),
    "nasnet_large": ("stem_conv1", "stem_bn1", 2, "VALID"),
  }[name]
  x = lax.conv_general_dilated(
    images(shape_of(name)),
    params[first]["kernel"],
    (stride, stride),
    pads,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  x = np.asarray(x, np.float64) + params[first].get("bias", 0)
  _, new_state = results(name, train=True)
  old = model_state["batch_stats"][bias]
  new = new_state["batch_stats"][bias]
  keep = MOMENTUM[name]
  for stat, value in (("mean", x.mean((0, 1, 2))), ("var", x.var((0, 1, 2)))):
    np.testing.assert_allclose(
      new[stat], keep * old[stat] + (1 - keep) * value, rtol=1e-4, atol=1e-6
    )


@small
def test_eval_keeps_the_state_and_examples_are_independent(name, norm):
  logits, state = results(name, norm)
  params, model_state = variables(name, norm)
  assert logits.shape == (8, 5)
  assert logits.dtype == jnp.float32
  assert np.isfinite(logits).all()
  jax.tree.map(np.testing.assert_array_equal, state, model_state)
  image = images(shape_of(name))
  others = np.concatenate([image[:3], 1 - image[3:]])
  changed, _ = apply_of(name, norm=norm)(
    jax.random.key(1), params, model_state, others, train=False
  )
  assert_close(changed[:3], logits[:3])
  assert not np.allclose(changed[3:], logits[3:], rtol=0, atol=1e-3)


@each
def test_features_are_the_inputs_of_the_last_layer(name):
  params, model_state = variables(name)
  image = images(shape_of(name))
  model = make(name, norm="batch")
  features = jax.jit(model.features)(params, model_state, image)
  head = {
    # Of Gaussian weights, their means.
    k: x.mean if isinstance(x, tuple) else x
    for k, x in params[layers.HEAD].items()
  }
  assert features.shape == (8, len(head["kernel"]))
  assert features.dtype == jnp.float32
  logits = np.asarray(features, np.float64) @ head["kernel"] + head["bias"]
  assert_close(logits, results(name)[0])


@small
def test_only_batch_norm_mixes_examples_in_training(name, norm):
  image = images(shape_of(name))
  image[1:] = 0
  first, _ = apply_of(name, norm=norm)(
    jax.random.key(1), *variables(name, norm), image, train=True
  )
  together, _ = results(name, norm, train=True)
  mixed = not np.allclose(first[0], together[0], rtol=0, atol=1e-3)
  assert mixed == (norm == "batch")


@pytest.mark.parametrize(
  ("name", "norm"),
  [
    ("cnn", "none"),
    pytest.param("mobilenet", "batch", marks=pytest.mark.slow),
    pytest.param("resnet50", "group", marks=pytest.mark.slow),
    pytest.param("se_resnext50_32x4d", "batch", marks=pytest.mark.slow),
  ],
)
def test_vmap_over_trials(name, norm):
  """Mapping over stacked variables equals a loop over them."""
  stacked = jax.tree.map(
    lambda x: jnp.stack([x, 1.5 * x]), variables(name, norm)
  )
  key, image = jax.random.key(1), images(shape_of(name))

  def run(params, model_state):
    return apply_of(name, norm=norm)(
      key, params, model_state, image, train=False
    )[0]

  together = jax.jit(jax.vmap(run))(*stacked)
  for i in range(2):
    alone = run(*jax.tree.map(lambda x, i=i: x[i], stacked))
    assert_close(together[i], alone)


# Without nasnet_large, which has the layers of nasnet_mobile.
apart = pytest.mark.parametrize(
  "name",
  [
    (_slow if name == "mobilenet" else _param)(name)
    for name in image_networks.NAMES
    if name != "nasnet_large"
  ],
)


@apart
def test_only_the_arithmetic_is_bfloat16(name):
  apply = apply_of(name, norm="batch", dtype="bfloat16")
  params, state = variables(name)
  # Plain statistics: those of few examples amplify the rounding.
  state = jax.tree_util.tree_map_with_path(
    lambda path, x: np.full(x.shape, path[-1].key == "var", np.float32), state
  )
  image = images(shape_of(name))
  key = jax.random.key(0)
  model = make(name, norm="batch", dtype="bfloat16")
  for leaf in jax.tree.leaves(jax.eval_shape(model.init, key)):
    assert leaf.dtype == jnp.float32
  logits, new_state = apply(key, params, state, image, train=False)
  for leaf in (logits, *jax.tree.leaves(new_state)):
    assert leaf.dtype == jnp.float32
  exact, _ = apply_of(name, norm="batch")(
    key, params, state, image, train=False
  )
  assert 0 < np.abs(logits - exact).max() < 0.1 * np.abs(exact).max()


def loss_fn(model, model_state, image, params):
  logits, new_state = model.apply(
    jax.random.key(1), params, model_state, image, train=True
  )
  label = jnp.arange(len(image)) % 5
  loss = optax.softmax_cross_entropy_with_integer_labels(logits, label)
  return loss.mean(), new_state


@pytest.mark.slow
def test_remat_changes_no_number_of_a_residual_network():
  params, model_state = variables("resnet50")
  image = images(shape_of("resnet50"))

  def run(remat):
    loss = functools.partial(
      loss_fn, make("resnet50", remat=remat), model_state, image
    )
    return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)

  # The gradient of a bias before a batch norm is zero but for rounding.
  assert_close(run(True), run(False), noise=1e-5)


@pytest.mark.slow
def test_remat_changes_no_number_of_a_nasnet_cell():
  h, p = images((8, 8, 8)), 1 - images((8, 8, 8))

  def run(remat):
    options = layers.Options(conv="lax", remat=remat)
    kit = layers.Kit(options, train=False)
    cell = options.block(nasnet.Cell)(kit, "0", 8, reduction=False)
    variables = cell.init(jax.random.key(0), h, p)

    def loss(params):
      out = cell.apply({**variables, "params": params}, h, p)
      return (out**2).mean()

    return jax.jit(jax.value_and_grad(loss))(variables["params"])

  assert_close(run(True), run(False))


@pytest.mark.parametrize(
  "name",
  [
    (_slow if name == "mobilenet" else _param)(name)
    for name in sorted(set(IMAGENET) - {"nasnet_large"})
  ],
)
def test_remat_stores_less_for_the_backward_pass(name):
  params, model_state = variables(name)
  image = images(shape_of(name))

  def stored(remat):
    loss = functools.partial(
      loss_fn, make(name, remat=remat), model_state, image
    )
    return count(
      jax.eval_shape(lambda p: jax.vjp(loss, p, has_aux=True)[1], params)
    )

  assert stored(True) < 0.8 * stored(False)


def test_dropout_depends_on_the_key_and_only_in_training():
  args = (*variables("mobilenet", "group"), images(shape_of("mobilenet")))
  apply = apply_of("mobilenet", norm="group", dropout=0.5)

  def logits(seed, train):
    return apply(jax.random.key(seed), *args, train=train)[0]

  assert np.array_equal(logits(0, True), logits(0, True))
  assert not np.allclose(logits(0, True), logits(1, True))
  assert np.array_equal(logits(0, False), logits(1, False))
  many = np.mean([logits(seed, True) for seed in range(400)], axis=0)
  # The logits are linear in the dropped features, so their mean is eval's.
  expected = np.asarray(logits(0, False))
  np.testing.assert_allclose(many, expected, atol=0.2 * np.abs(expected).max())


@pytest.mark.slow  # experiments train networks too
def test_learns_to_tell_two_pictures():
  """The left or the right half is bright, with noise."""
  label = jnp.arange(32) % 2
  bright = (jnp.arange(28)[None, :] < 14) == (label == 0)[:, None]
  x = images((28, 28, 1), 32) * 0.5 + 0.5 * bright[:, None, :, None]
  model = MODELS["cnn"](
    input_shape=(28, 28, 1), num_classes=2, width=0.25, norm="batch"
  )
  params, model_state = jax.jit(model.init)(jax.random.key(0))
  tx = optax.adam(1e-2)

  def loss_fn(params, model_state):
    logits, model_state = model.apply(
      jax.random.key(0), params, model_state, x, train=True
    )
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    return loss.mean(), model_state

  def step(carry, _):
    params, model_state, opt_state = carry
    (loss, model_state), grads = jax.value_and_grad(loss_fn, has_aux=True)(
      params, model_state
    )
    updates, opt_state = tx.update(grads, opt_state)
    return (optax.apply_updates(params, updates), model_state, opt_state), loss

  carry = (params, model_state, tx.init(params))
  _, loss = jax.jit(lambda c: lax.scan(step, c, length=40))(carry)
  assert loss[-1] < 0.05  # log 2 is 0.69


@each
@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"width": 0}, "width .*got 0"),
    ({"width": float("nan")}, "width .*got nan"),
    ({"num_classes": 0}, "num_classes .*got 0"),
    ({"input_shape": (28, 28)}, r"input_shape .*got \(28, 28\)"),
    ({"input_shape": (280, 3, 1)}, "got 280 x 3"),
    ({"norm": "layer"}, "norm .*got 'layer'"),
    ({"conv": "gpu"}, "conv .*got 'gpu'"),
    ({"dtype": "float16"}, "dtype .*got 'float16'"),
  ],
)
def test_bad_arguments(name, options, message):
  with pytest.raises(ValueError, match=message):
    make(name, **options)


@imagenet
def test_bad_arguments_of_imagenets_networks(name):
  with pytest.raises(ValueError, match=r"norm .*'none'"):
    make(name, norm="none")
  field, blocks = next(iter(SHALLOW[name].items()), (None, None))
  if field == "blocks":
    for few in (blocks[1:], (0, *blocks[1:])):
      with pytest.raises(ValueError, match=f"blocks .*{len(blocks)}"):
        make(name, blocks=few)
  elif field == "num_blocks":
    with pytest.raises(ValueError, match=r"blocks .*0"):
      make(name, num_blocks=0)
  else:
    for dropout in (-0.1, 1.0):
      with pytest.raises(ValueError, match=f"dropout .*{dropout}"):
        make(name, dropout=dropout)


@each
def test_the_smallest_and_narrowest(name):
  """The smallest size works, as the other tests show; one less is refused."""
  size = SMALLEST[name]
  for shape in ((size - 1, size + 9, 1), (size + 9, size - 1, 1)):
    with pytest.raises(ValueError, match=f"{size}.*{shape[0]} x {shape[1]}"):
      make(name, input_shape=shape)
  model = make(name, width=1e-3)
  params, _ = jax.eval_shape(model.init, jax.random.key(0))
  assert min(leaf.size for leaf in jax.tree.leaves(params)) > 0


@each
def test_images_of_other_channels_and_sizes(name):
  shape = (SMALLEST[name] + 1, 80, 3)
  model = make(name, input_shape=shape)
  params, model_state = jax.eval_shape(model.init, jax.random.key(0))
  image = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
  logits, new_state = jax.eval_shape(
    functools.partial(model.apply, train=True),
    jax.random.key(0),
    params,
    model_state,
    image,
  )
  assert logits.shape == (2, 5)
  assert new_state == model_state


def test_a_config_names_a_network():
  spec = {"name": "cnn", "width": 0.5, "norm": "none"}
  model = specs.make(spec, MODELS, "model", **KNOWN)
  params, _ = jax.eval_shape(model.init, jax.random.key(0))
  assert params["conv1"]["kernel"].shape == (3, 3, 1, 16)


@imagenet
def test_a_config_names_imagenets_networks(name):
  options = {"remat": True, "dtype": "bfloat16", "norm": "group"}
  options = ", ".join(
    f"{k}={v!r}" for k, v in (options | SHALLOW[name]).items()
  )
  spec = {"name": f"{name}({options})", "width": 0.1}
  model = specs.make(spec, MODELS, "model", **KNOWN)
  params, model_state = jax.eval_shape(model.init, jax.random.key(0))
  assert params["logits"]["bias"].shape == (5,)
  assert not model_state
  with pytest.raises(UserError, match=f"{name}: norm"):
    specs.make({"name": name, "norm": "none"}, MODELS, "model", **KNOWN)
