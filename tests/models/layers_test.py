"""Tests of the layers and their initialisers against Flax and NumPy."""

import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alcurr.models import layers, lowerings

KEY = jax.random.key(0)


class Net(nn.Module):
  """A network of one layer of a kit."""

  piece: Callable
  options: layers.Options = layers.Options()
  train: bool = True

  @nn.compact
  def __call__(self, x):
    return self.piece(layers.Kit(self.options, self.train), x)


def conv_net(features, kernel, options=None, **how):
  return Net(
    lambda kit, x: kit.conv(x, features, kernel, "layer", **how),
    layers.Options(**(options or {})),
  )


def separable_net(features, kernel, stride=1, **options):
  return Net(
    lambda kit, x: layers.SeparableConv(
      kit, features, kernel, stride, name="layer"
    )(x),
    layers.Options(**options),
  )


def normal(seed, *shape):
  x = np.random.default_rng(seed).standard_normal(shape)
  return x.astype(np.float32)


@pytest.mark.parametrize(
  ("kernel", "stride", "padding", "groups", "use_bias"),
  [
    ((3, 3), 1, "SAME", 1, True),
    ((7, 7), 2, ((3, 3), (3, 3)), 1, False),
    ((1, 7), 1, "VALID", 1, False),
    ((3, 3), 2, "SAME", 2, True),
    ((3, 3), 2, "SAME", 0, False),
  ],
)
def test_conv_is_flaxs(kernel, stride, padding, groups, use_bias):
  """Parameters and outputs agree; groups=0 means one group per channel."""
  x = normal(0, 2, 9, 10, 4)
  how = {"stride": stride, "padding": padding, "groups": groups}
  layer = conv_net(4, kernel, use_bias=use_bias, **how)
  other = nn.Conv(
    *(4, kernel, stride, padding),
    feature_group_count=groups or 4,
    use_bias=use_bias,
  )
  params = layer.init(KEY, x)["params"]
  shapes = jax.tree.map(jnp.shape, params)
  expected = jax.tree.map(jnp.shape, other.init(KEY, x)["params"])
  assert shapes == {"layer": expected}
  params = jax.tree.map(lambda p: normal(1, *p.shape), params)
  np.testing.assert_allclose(
    layer.apply({"params": params}, x),
    other.apply({"params": params["layer"]}, x),
    rtol=0,
    atol=1e-4,
  )


@pytest.mark.parametrize("lowering", lowerings.LOWERINGS)
@pytest.mark.parametrize("stride", [1, 2])
def test_separable_conv_is_two_of_flaxs(stride, lowering):
  x = normal(0, 2, 9, 10, 4)
  depthwise, pointwise = normal(1, 5, 5, 1, 4), normal(2, 1, 1, 4, 6)
  params = {"depthwise_kernel": depthwise, "pointwise_kernel": pointwise}
  y = separable_net(6, 5, stride, conv=lowering).apply(
    {"params": {"layer": params}}, x
  )
  conv = functools.partial(nn.Conv, use_bias=False)
  each = conv(4, (5, 5), stride, feature_group_count=4).apply(
    {"params": {"kernel": depthwise}}, x
  )
  both = conv(6, (1, 1)).apply({"params": {"kernel": pointwise}}, each)
  np.testing.assert_allclose(y, both, rtol=0, atol=1e-4)


def test_he_normal_counts_the_inputs_of_one_output():
  """Variance 2 / fan_in: 9 C for a convolution, 9 for a depthwise one."""
  x = jnp.zeros((1, 4, 4, 512))
  for layer, fans in (
    (conv_net(128, 3), {"kernel": 9 * 512}),
    (conv_net(128, (1, 7)), {"kernel": 7 * 512}),
    (conv_net(512, 3, groups=32), {"kernel": 9 * 16}),
    (conv_net(512, 3, groups=0), {"kernel": 9}),
    (
      separable_net(128, 5),
      {"depthwise_kernel": 25, "pointwise_kernel": 512},
    ),
  ):
    params = jax.jit(layer.init)(KEY, x)["params"]["layer"]
    assert params.keys() == fans.keys()
    for name, fan_in in fans.items():
      assert params[name].mean() == pytest.approx(0, abs=0.1 / fan_in**0.5)
      assert params[name].var() == pytest.approx(2 / fan_in, rel=0.1)


def test_glorot_uniform_logits_in_float32():
  """Variance 2 / (fan_in + fan_out), within sqrt(3) deviations."""
  net = Net(lambda kit, x: kit.logits(x, 300))
  y, variables = net.init_with_output(KEY, jnp.ones((2, 500), jnp.bfloat16))
  assert y.dtype == jnp.float32
  head = variables["params"][layers.HEAD]
  assert not head["bias"].any()
  kernel = head["kernel"]
  assert kernel.var() == pytest.approx(2 / (500 + 300), rel=0.1)
  assert abs(kernel).max() <= (6 / (500 + 300)) ** 0.5


@pytest.mark.parametrize("lowering", lowerings.LOWERINGS)
def test_arithmetic_in_the_dtype_of_the_options(lowering):
  x = jnp.ones((1, 6, 6, 2), jnp.bfloat16)
  options = {"dtype": "bfloat16", "conv": lowering}
  for layer in (
    conv_net(4, 3, options, use_bias=True),
    conv_net(2, 3, options, groups=0),
    separable_net(4, 3, **options),
  ):
    y, variables = layer.init_with_output(KEY, x)
    assert y.dtype == jnp.bfloat16
    for param in jax.tree.leaves(variables):
      assert param.dtype == jnp.float32


@pytest.mark.parametrize(
  ("channels", "groups"),
  [
    (8, 1),
    pytest.param(24, 1, marks=pytest.mark.slow),
    (32, 2),
    pytest.param(40, 2, marks=pytest.mark.slow),
    (33, 1),
    pytest.param(1024, 64, marks=pytest.mark.slow),
  ],
)
def test_group_norm_against_numpy(channels, groups):
  x = normal(0, 2, 3, 4, channels) + 1
  options = layers.Options(norm="group")
  net = Net(lambda kit, x: kit.norm(x, "norm"), options)
  y, variables = net.init_with_output(KEY, x)
  assert variables["params"]["norm"]["scale"].shape == (channels,)
  g = x.reshape(2, 3, 4, groups, -1).astype(np.float64)
  mean = g.mean((1, 2, 4), keepdims=True)
  var = g.var((1, 2, 4), keepdims=True)
  expected = ((g - mean) / np.sqrt(var + 1e-6)).reshape(x.shape)
  np.testing.assert_allclose(y, expected, atol=1e-5)


def test_batch_norm_against_numpy():
  """In training the batch's statistics, afterwards the running ones."""
  x = 3 * normal(0, 4, 3, 5, 6) + 1
  mean, var = (np.float64(x).mean((0, 1, 2)), np.float64(x).var((0, 1, 2)))

  def piece(kit, x):
    return layers.Kit(kit.options, kit.train, 0.1, 0.75).norm(x, "norm")

  variables = Net(piece).init(KEY, x)
  params = {"norm": {"scale": normal(1, 6), "bias": normal(2, 6)}}
  state = {"norm": {"mean": normal(3, 6), "var": normal(4, 6) ** 2}}
  variables = {"params": params, "batch_stats": state}

  def scaled(mean, var):
    scale, bias = params["norm"]["scale"], params["norm"]["bias"]
    return (x - mean) / np.sqrt(var + 0.1) * scale + bias

  y, changed = Net(piece).apply(variables, x, mutable=["batch_stats"])
  np.testing.assert_allclose(y, scaled(mean, var), atol=1e-5)
  new = changed["batch_stats"]["norm"]
  for name, value in (("mean", mean), ("var", var)):
    expected = 0.75 * state["norm"][name] + 0.25 * value
    np.testing.assert_allclose(new[name], expected, rtol=1e-5, atol=1e-5)
  y = Net(piece, train=False).apply(variables, x)
  expected = scaled(state["norm"]["mean"], state["norm"]["var"])
  np.testing.assert_allclose(y, expected, atol=1e-4)


@pytest.mark.parametrize("norm", layers.NORMS)
def test_norms_have_float32_statistics_and_a_scale_if_asked(norm):
  x = jnp.ones((2, 3, 4, 32), jnp.bfloat16)
  options = layers.Options(norm=norm)
  for use_scale in (True, False):
    net = Net(
      lambda kit, x, use_scale=use_scale: dataclasses.replace(
        kit, use_scale=use_scale
      ).norm(x, "norm"),
      options,
    )
    y, variables = net.init_with_output(KEY, x)
    assert y.dtype == jnp.bfloat16
    assert ("scale" in variables["params"]["norm"]) == use_scale
    assert "bias" in variables["params"]["norm"]
    for leaf in jax.tree.leaves(variables):
      assert leaf.dtype == jnp.float32


def test_no_norm_is_nothing():
  net = Net(lambda kit, x: kit.norm(x, "norm"), layers.Options(norm="none"))
  x = normal(0, 2, 3, 4, 5)
  y, variables = net.init_with_output(KEY, x)
  np.testing.assert_array_equal(y, x)
  assert not variables


def test_the_mean_of_an_image_is_taken_in_float32():
  """In bfloat16, adding 1 to 256 is 256."""
  x = jnp.ones((2, 30, 30, 3), jnp.bfloat16).at[1].set(3)
  mean = layers.mean_of_image(x)
  assert mean.dtype == jnp.float32
  np.testing.assert_array_equal(mean, [[1, 1, 1], [3, 3, 3]])


def test_width_multiplies_channels_and_leaves_one():
  assert layers.Options(width=0.25).channels(32) == 8
  assert layers.Options(width=0.35).channels(32) == 11  # of 11.2
  assert layers.Options(width=0.001).channels(32) == 1
  assert layers.Options(width=2.0).channels(3) == 6


@pytest.mark.parametrize(
  ("check", "message"),
  [
    (lambda: layers.check_blocks((1, 2), 4), r"blocks .*4 .*\(1, 2\)"),
    (lambda: layers.check_blocks((1, 0), 2), r"blocks .*2 .*\(1, 0\)"),
    (lambda: layers.Options(dtype="float16"), "dtype .*'float16'"),
    (lambda: layers.Options(conv="fft"), "conv .*'fft'"),
    (lambda: layers.Options(width=-1), "width .*-1"),
  ],
)
def test_bad_arguments(check, message):
  with pytest.raises(ValueError, match=message):
    check()
