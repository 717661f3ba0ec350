"""Models: published sizes, running statistics, independence, bad arguments."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from alcurr import specs
from alcurr.errors import UserError
from alcurr.models import MODELS

# Every model with every norm, small.
SMALL = [
  ("cnn", {"norm": "none"}),
  ("cnn", {"norm": "batch"}),
  ("cnn", {"norm": "group"}),
  ("mobilenet", {"norm": "batch"}),
  ("mobilenet", {"norm": "group"}),
]
small = pytest.mark.parametrize(("name", "options"), SMALL)
# Without the last, whose layers all occur in the others.
smaller = pytest.mark.parametrize(("name", "options"), SMALL[:-1])


def make(name, **options):
  options = {"image_shape": (28, 28, 1), "num_classes": 5, "width": 0.25} | (
    options
  )
  return MODELS[name](**options)


def count(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def images(num=4, shape=(28, 28, 1)):
  """Random squares of 7 x 7 pixels, so that no two images look alike."""
  height, width, channels = shape
  x = np.random.default_rng(0).random((num, 4, 4, channels)) ** 2
  x = x.repeat(7, axis=1).repeat(7, axis=2)[:, :height, :width]
  return x.astype(np.float32)


def assert_close(actual, expected):
  """To 1e-3 of the largest entry.

  Statistics of four examples amplify the rounding of 27 float32 layers.
  """
  for a, e in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    np.testing.assert_allclose(a, e, rtol=0, atol=1e-3 * np.abs(e).max())


@functools.cache
def apply_of(name, **options):
  return jax.jit(make(name, **options).apply, static_argnames="train")


@functools.cache
def variables(name, **options):
  """Arbitrary parameters, and the statistics of `images()`."""
  if options["norm"] == "group":  # has the parameters of batch norm
    return variables(name, norm="batch")[0], {}
  key = jax.random.key(0)
  params, model_state = jax.eval_shape(make(name, **options).init, key)
  rng = np.random.default_rng(1)

  def draw(path, x):
    x = rng.standard_normal(x.shape, np.float32)
    if x.ndim > 1:
      return x * (2 / np.prod(x.shape[:-1])) ** 0.5
    return x / 9 + (path[-1].key == "scale")

  params = jax.tree_util.tree_map_with_path(draw, params)
  model_state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), model_state)
  _, model_state = apply_of(name, **options)(
    key, params, model_state, images(), train=True
  )
  # One step moves them from zero by a hundredth of the batch's.
  return params, jax.tree.map(lambda x: 100 * x, model_state)


def _table_1(width):
  """Trainable and all parameters of MobileNet v1 at 1,000 classes, by hand."""
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
  ("width", "trainable", "total"),
  # Width 1: as published with Keras. The others: by the paper's table 1 with
  # a convolution, its norm and nothing else in each layer, as in `_table_1`.
  [
    (1.0, 4_231_976, 4_253_864),
    (0.75, 2_585_560, 2_601_976),
    (0.5, 1_331_592, 1_342_536),
    (0.25, 470_072, 475_544),
  ],
)
def test_mobilenet_has_the_published_size(width, trainable, total):
  assert _table_1(width) == (trainable, total)
  model = make(
    "mobilenet", image_shape=(224, 224, 3), num_classes=1000, width=width
  )
  params, model_state = jax.eval_shape(model.init, jax.random.key(0))
  assert count(params) == trainable
  assert count(params) + count(model_state) == total


def test_cnn_size_by_hand():
  params, model_state = jax.eval_shape(
    make("cnn", num_classes=10, width=1.0).init, jax.random.key(0)
  )
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
  """Howard et al. 2017, table 1, composed anew from XLA's convolutions."""
  params, model_state = variables("mobilenet", norm="batch")
  stats = model_state["batch_stats"]

  def layer(x, name, stride, groups=1):
    x = conv(x, params[name]["kernel"], stride, groups)
    bn, running = params[f"{name}_bn"], stats[f"{name}_bn"]
    x = (x - running["mean"]) / jnp.sqrt(running["var"] + 1e-3)
    return jnp.clip(x * bn["scale"] + bn["bias"], 0, 6)

  strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
  widths = (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024)

  @jax.jit
  def table(x):
    x = layer(x, "conv1", 2)
    for i, (stride, width) in enumerate(zip(strides, widths, strict=True), 1):
      x = layer(x, f"conv_dw_{i}", stride, groups=x.shape[-1])
      x = layer(x, f"conv_pw_{i}", 1)
      assert x.shape[-1] == width // 4
    assert x.shape[1:3] == (1, 1)
    head = params["conv_preds"]
    return x.mean((1, 2)) @ head["kernel"] + head["bias"]

  expected = table(images())
  logits, _ = apply_of("mobilenet", norm="batch")(
    jax.random.key(0), params, model_state, images(), train=False
  )
  assert_close(logits, expected)


@smaller
def test_lowerings_agree(name, options):
  """One set of variables, the same logits and statistics."""
  args = (jax.random.key(1), *variables(name, **options), images())
  matmul, lax_ = (
    apply_of(name, lowering=lowering, **options)(*args, train=True)
    for lowering in ("matmul", "lax")
  )
  assert_close(matmul, lax_)


def test_running_statistics_against_numpy():
  params, model_state = variables("mobilenet", norm="batch")
  _, new_state = apply_of("mobilenet", norm="batch")(
    jax.random.key(0), params, model_state, images(), train=True
  )
  x = np.asarray(conv(images(), params["conv1"]["kernel"], 2), np.float64)
  old = model_state["batch_stats"]["conv1_bn"]
  new = new_state["batch_stats"]["conv1_bn"]
  for name, value in (("mean", x.mean((0, 1, 2))), ("var", x.var((0, 1, 2)))):
    np.testing.assert_allclose(
      new[name], 0.99 * old[name] + 0.01 * value, rtol=1e-5, atol=1e-6
    )


@small
def test_eval_leaves_the_state_and_treats_examples_alone(name, options):
  params, model_state = variables(name, **options)
  apply, key = apply_of(name, **options), jax.random.key(0)
  logits, state = apply(key, params, model_state, images(), train=False)
  assert logits.shape == (4, 5)
  assert logits.dtype == jnp.float32
  jax.tree.map(np.testing.assert_array_equal, state, model_state)
  alone = [
    apply(key, params, model_state, image[None], train=False)[0]
    for image in images()
  ]
  assert_close(logits, np.concatenate(alone))


def test_only_batch_norm_mixes_examples_in_training():
  image = images()
  changed = image.copy()
  changed[1:] = 0
  for name, options in SMALL:
    first, second = (
      apply_of(name, **options)(
        jax.random.key(0), *variables(name, **options), x, train=True
      )[0][0]
      for x in (image, changed)
    )
    mixed = not np.allclose(first, second, rtol=0, atol=1e-3)
    assert mixed == (options["norm"] == "batch")


@smaller
def test_trials_side_by_side(name, options):
  """vmap over stacked variables is a loop over them."""
  stacked = jax.tree.map(
    lambda x: jnp.stack([x, 1.5 * x]), variables(name, **options)
  )
  key = jax.random.key(0)

  def run(params, model_state):
    return apply_of(name, **options)(
      key, params, model_state, images(), train=True
    )

  together = jax.jit(jax.vmap(run))(*stacked)
  for i in range(2):
    alone = run(*jax.tree.map(lambda x, i=i: x[i], stacked))
    assert_close(jax.tree.map(lambda x, i=i: x[i], together), alone)


def test_dropout_is_the_keys_and_for_training_only():
  args = (*variables("mobilenet", norm="group"), images())
  apply = apply_of("mobilenet", norm="group", dropout=0.5)

  def logits(seed, train):
    return apply(jax.random.key(seed), *args, train=train)[0]

  assert np.array_equal(logits(0, True), logits(0, True))
  assert not np.allclose(logits(0, True), logits(1, True))
  assert np.array_equal(logits(0, False), logits(1, False))
  many = np.mean([logits(seed, True) for seed in range(400)], axis=0)
  # The logits are linear in what is dropped: their mean is the eval logits.
  expected = np.asarray(logits(0, False))
  np.testing.assert_allclose(many, expected, atol=0.2 * np.abs(expected).max())


def test_learns_to_tell_two_pictures():
  """Left half bright or right half bright, with noise."""
  label = jnp.arange(32) % 2
  bright = (jnp.arange(28)[None, :] < 14) == (label == 0)[:, None]
  x = images(32) * 0.5 + 0.5 * bright[:, None, :, None]
  model = make("cnn", num_classes=2, norm="batch")
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


@pytest.mark.parametrize("name", ["cnn", "mobilenet"])
@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"width": 0}, "width must be positive and finite, got 0"),
    ({"width": float("nan")}, "width must be positive and finite, got nan"),
    ({"num_classes": 1}, "num_classes must be at least 2, got 1"),
    ({"image_shape": (28, 28)}, r"image_shape must be .* got \(28, 28\)"),
    ({"image_shape": (28, 3, 1)}, "at least .* pixels, got 28 x 3"),
    ({"norm": "layer"}, "norm must be one of .*group, got 'layer'"),
    ({"lowering": "gpu"}, "lowering must be one of auto, .*, got 'gpu'"),
  ],
)
def test_bad_arguments(name, options, message):
  with pytest.raises(ValueError, match=message):
    make(name, **options)


def test_bad_arguments_of_mobilenet():
  with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\), got 1"):
    make("mobilenet", dropout=1.0)
  with pytest.raises(ValueError, match="at least 17 x 17 pixels, got 16 x 28"):
    make("mobilenet", image_shape=(16, 28, 1))
  with pytest.raises(ValueError, match="norm must be one of batch, group"):
    make("mobilenet", norm="none")


def test_the_smallest_and_narrowest():
  for name, size in (("cnn", 4), ("mobilenet", 17)):
    model = make(name, image_shape=(size, size, 3), width=0.001)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    ones = jax.tree.map(lambda x: jnp.ones(x.shape), shapes)
    logits, _ = jax.jit(model.apply, static_argnames="train")(
      jax.random.key(0), *ones, images(2, (size, size, 3)), train=True
    )
    assert logits.shape == (2, 5)
    assert np.isfinite(logits).all()


def test_a_config_names_them():
  known = {"image_shape": (28, 28, 1), "num_classes": 5}
  model = specs.make(
    {"name": "cnn", "width": 0.5, "norm": "none"}, MODELS, "model", **known
  )
  params, _ = jax.eval_shape(model.init, jax.random.key(0))
  assert params["conv1"]["kernel"].shape == (3, 3, 1, 16)
  with pytest.raises(UserError, match="model: mobilenet: norm must be one of"):
    specs.make({"name": "mobilenet", "norm": "none"}, MODELS, "model", **known)
