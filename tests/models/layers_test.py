"""Layers: both lowerings against Flax, and against NumPy's own loops."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from alcurr.models import layers

LOWERINGS = ("lax", "matmul")


def numpy_conv(x, kernel, stride, padding, depthwise):
  """Sliding window in float64, with the padding rule of TensorFlow's guide."""
  kh, kw = kernel.shape[:2]
  out, pads = [], []
  for n, k in zip(x.shape[1:3], (kh, kw), strict=True):
    if padding == "SAME":
      out.append(-(-n // stride))
      total = max((out[-1] - 1) * stride + k - n, 0)
    else:
      out.append(-(-(n - k + 1) // stride))
      total = 0
    pads.append((total // 2, total - total // 2))
  x = np.pad(x.astype(np.float64), ((0, 0), *pads, (0, 0)))
  y = np.zeros((x.shape[0], *out, kernel.shape[-1]))
  for i in range(out[0]):
    for j in range(out[1]):
      seen = x[:, i * stride :, j * stride :][:, :kh, :kw]
      rule = "bijc,ijzc->bc" if depthwise else "bijc,ijcd->bd"
      y[:, i, j] = np.einsum(rule, seen, kernel)
  return y


def assert_close(actual, expected):
  """To 1e-5 of the largest entry: float32 sums in another order."""
  for a, e in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    e = np.asarray(e)
    assert a.shape == e.shape
    np.testing.assert_allclose(a, e, rtol=0, atol=1e-5 * np.abs(e).max())


def normal(seed, *shape):
  x = np.random.default_rng(seed).standard_normal(shape)
  return x.astype(np.float32)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("depthwise", [False, True])
def test_convolution(depthwise, kernel, stride, padding):
  x = normal(0, 2, 7, 10, 3)  # an odd and an even size
  features = 3 if depthwise else 4
  flax_layer = nn.Conv(
    features,
    (kernel, kernel),
    stride,
    padding,
    feature_group_count=3 if depthwise else 1,
    use_bias=not depthwise,
  )
  params = {
    "kernel": normal(1, kernel, kernel, 1 if depthwise else 3, features)
  }
  if not depthwise:
    params["bias"] = normal(2, features)
  oracle = numpy_conv(x, params["kernel"], stride, padding, depthwise)
  oracle += params.get("bias", 0)
  slope = normal(3, *oracle.shape)  # makes every output's gradient differ

  def value_and_grads(layer):
    def fun(params, x):
      y = layer.apply({"params": params}, x)
      return (y * slope).sum(), y

    (_, y), grads = jax.jit(
      jax.value_and_grad(fun, argnums=(0, 1), has_aux=True)
    )(params, x)
    return y, grads

  y, grads = value_and_grads(flax_layer)
  assert_close(y, oracle)
  for lowering in LOWERINGS:
    options = {"stride": stride, "padding": padding, "lowering": lowering}
    if depthwise:
      layer = layers.DepthwiseConv(kernel, **options)
    else:
      layer = layers.Conv(features, kernel, **options)
    assert_close(value_and_grads(layer), (oracle, grads))


@pytest.mark.parametrize("size", [(8, 6), (7, 9)])
@pytest.mark.parametrize("window", [2, 3])
def test_max_pool(size, window):
  x = normal(0, 2, *size, 3)
  expected = nn.max_pool(x, (window, window), (window, window))
  slope = normal(1, *expected.shape)
  expected_grad = jax.grad(
    lambda x: (nn.max_pool(x, (window, window), (window, window)) * slope).sum()
  )(x)
  for lowering in LOWERINGS:
    y, pullback = jax.vjp(
      lambda x, lowering=lowering: layers.max_pool(
        x, window=window, lowering=lowering
      ),
      x,
    )
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(pullback(slope)[0], expected_grad)


def test_max_pool_conserves_the_gradient_of_ties():
  x = jnp.zeros((1, 4, 4, 1))
  for lowering in LOWERINGS:
    grad = jax.grad(
      lambda x, lowering=lowering: layers.max_pool(
        x, window=2, lowering=lowering
      ).sum()
    )(x)
    cells = grad.reshape(2, 2, 2, 2).sum((1, 3))
    np.testing.assert_array_equal(cells, np.ones((2, 2)))


@pytest.mark.parametrize("over", ["vmap", "map", "scan"])
@pytest.mark.parametrize("depthwise", [False, True])
def test_stacked_kernels(depthwise, over):
  """Trials side by side or one by one give what each gives alone."""
  kernel = normal(0, 3, 3, 3, 1 if depthwise else 4, 4)
  x = normal(1, 3, 2, 6, 5, 4)
  conv = layers.depthwise_conv if depthwise else layers.conv

  def grads(kernel, x):
    def fun(kernel, x):
      y = conv(x, kernel, stride=2, padding="SAME", lowering="matmul")
      return (y**2).sum()

    return jax.grad(fun, argnums=(0, 1))(kernel, x)

  if over == "vmap":
    actual = jax.jit(jax.vmap(grads))(kernel, x)
  elif over == "map":
    actual = jax.jit(lambda a: jax.lax.map(lambda b: grads(*b), a))((kernel, x))
  else:
    actual = jax.lax.scan(lambda _, b: (None, grads(*b)), None, (kernel, x))[1]

  def reference(kernel, x):
    y = jax.lax.conv_general_dilated(
      x,
      kernel,
      (2, 2),
      "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=4 if depthwise else 1,
    )
    return (y**2).sum()

  for i in range(3):
    expected = jax.grad(reference, argnums=(0, 1))(kernel[i], x[i])
    assert_close([a[i] for a in actual], expected)


def test_auto_avoids_convolutions_on_a_cpu_only():
  def program(lowering):
    layer = layers.Conv(4, 3, lowering=lowering)
    x = jnp.zeros((1, 6, 6, 2))
    return jax.jit(layer.init_with_output).lower(jax.random.key(0), x).as_text()

  assert "convolution" in program("lax")
  assert "convolution" not in program("matmul")
  on_cpu = jax.default_backend() == "cpu"
  assert ("convolution" not in program("auto")) == on_cpu


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_arithmetic_in_the_type_of_the_input(lowering):
  x = jnp.ones((1, 6, 6, 2), jnp.bfloat16)
  for layer in (
    layers.Conv(4, 3, lowering=lowering),
    layers.DepthwiseConv(3, lowering=lowering),
  ):
    y, variables = layer.init_with_output(jax.random.key(0), x)
    assert y.dtype == jnp.bfloat16
    for param in jax.tree.leaves(variables):
      assert param.dtype == jnp.float32


def test_he_normal_counts_the_inputs_of_one_output():
  """Variance 2 / fan_in: 9 C for a convolution, 9 for a depthwise one."""
  x = jnp.zeros((1, 4, 4, 512))
  for layer, fan_in in (
    (layers.Conv(128, 3), 9 * 512),
    (layers.DepthwiseConv(3), 9),
  ):
    kernel = layer.init(jax.random.key(0), x)["params"]["kernel"]
    assert kernel.var() == pytest.approx(2 / fan_in, rel=0.1)


@pytest.mark.parametrize(
  ("channels", "groups"),
  [(8, 1), (24, 1), (32, 2), (40, 2), (33, 1), (1024, 64)],
)
def test_group_norm_against_numpy(channels, groups):
  class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
      return layers.make_norm("group", train=True, name="norm")(x)

  x = normal(0, 2, 3, 4, channels) + 1
  y, variables = Net().init_with_output(jax.random.key(0), x)
  assert variables["params"]["norm"]["scale"].shape == (channels,)
  g = x.reshape(2, 3, 4, groups, -1).astype(np.float64)
  mean = g.mean((1, 2, 4), keepdims=True)
  var = g.var((1, 2, 4), keepdims=True)
  expected = ((g - mean) / np.sqrt(var + 1e-6)).reshape(x.shape)
  np.testing.assert_allclose(y, expected, atol=1e-5)
