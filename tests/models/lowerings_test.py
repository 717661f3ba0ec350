"""Tests of every lowering against loops in NumPy and against Flax."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from alcurr.models import lowerings

EACH = lowerings.LOWERINGS

# Kind -> (input channels, output channels, groups).
KINDS = {
  "full": (3, 4, 1),
  "pointwise": (3, 4, 1),
  "depthwise": (4, 4, 4),
  "multiplied": (3, 6, 3),  # two kernels for each channel
  "grouped": (6, 4, 2),
}
EXPLICIT = ((1, 0), (2, 3))
# All pairs of a stride and a padding, and fewer of them for large windows.
PLACES = [(s, p) for s in (1, 2) for p in ("SAME", "VALID", EXPLICIT)]
FEWER = [(1, "SAME"), (2, "VALID"), (2, EXPLICIT)]
CASES = [
  (kind, kernel, *place)
  for kernel, kinds, places in [
    ((1, 1), ("pointwise",), PLACES),
    ((3, 3), ("full", "depthwise", "grouped"), PLACES),
    ((3, 3), ("multiplied",), FEWER),
    ((1, 7), ("full", "depthwise", "grouped"), FEWER),
    ((5, 5), ("full", "depthwise"), FEWER),
    ((5, 5), ("grouped",), FEWER[:1]),
  ]
  for kind in kinds
  for place in places
]


def normal(seed, *shape):
  x = np.random.default_rng(seed).standard_normal(shape)
  return x.astype(np.float32)


def assert_close(actual, expected):
  """To 1e-5 of the largest entry: float32 sums in another order."""
  for a, e in zip(
    jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True
  ):
    e = np.asarray(e)
    assert a.shape == e.shape
    np.testing.assert_allclose(a, e, rtol=0, atol=1e-5 * np.abs(e).max())


def pads_of(shape, window, stride, padding):
  """The padding rule of TensorFlow's guide."""
  if padding == "VALID":
    return ((0, 0), (0, 0))
  if padding != "SAME":
    return padding
  pads = []
  for n, k in zip(shape, window, strict=True):
    total = max((-(-n // stride) - 1) * stride + k - n, 0)
    pads.append((total // 2, total - total // 2))
  return tuple(pads)


def windows(x, window, stride, pads, value=0.0):
  """Returns padded x, and the places and slices of a sliding window."""
  x = np.pad(
    x.astype(np.float64), ((0, 0), *pads, (0, 0)), constant_values=value
  )
  rows, columns = (
    (n - k) // stride + 1 for n, k in zip(x.shape[1:3], window, strict=True)
  )
  places = [
    (
      i,
      j,
      np.s_[
        :,
        i * stride : i * stride + window[0],
        j * stride : j * stride + window[1],
      ],
    )
    for i in range(rows)
    for j in range(columns)
  ]
  return x, (rows, columns), places


def inside(x, pads):
  """Removes the padding."""
  (top, bottom), (left, right) = pads
  return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


def numpy_conv(x, kernel, stride, padding, groups):
  """Convolves in float64 by a sliding window.

  Returns:
    The output, and a function from its gradient to those of x and the kernel.
  """
  pads = pads_of(x.shape[1:3], kernel.shape[:2], stride, padding)
  x, size, places = windows(x, kernel.shape[:2], stride, pads)
  # The kernel of every input channel, zero outside of its group.
  inputs, features = kernel.shape[2], kernel.shape[3]
  whole = np.zeros((*kernel.shape[:2], x.shape[-1], features))
  groups = [
    np.s_[
      :,
      :,
      g * inputs : (g + 1) * inputs,
      g * features // groups : (g + 1) * features // groups,
    ]
    for g in range(groups)
  ]
  for group in groups:
    whole[group] = kernel[:, :, :, group[3]]
  y = np.zeros((x.shape[0], *size, features))
  for i, j, here in places:
    y[:, i, j] = np.einsum("bijc,ijcd->bd", x[here], whole, optimize=True)

  def pullback(slope):
    dx, dwhole = np.zeros_like(x), np.zeros_like(whole)
    for i, j, here in places:
      dx[here] += np.einsum(
        "bd,ijcd->bijc", slope[:, i, j], whole, optimize=True
      )
      dwhole += np.einsum(
        "bd,bijc->ijcd", slope[:, i, j], x[here], optimize=True
      )
    return inside(dx, pads), np.concatenate([dwhole[g] for g in groups], -1)

  return y, pullback


def numpy_pool(x, window, stride, padding, reduce):
  """Pools in float64 by a sliding window, NaN outside of the image."""
  pads = pads_of(x.shape[1:3], (window, window), stride, padding)
  x, size, places = windows(x, (window, window), stride, pads, np.nan)
  y = np.zeros((x.shape[0], *size, x.shape[-1]))
  for i, j, here in places:
    y[:, i, j] = reduce(x[here], (1, 2))

  def pullback(slope):
    dx = np.zeros_like(x)
    for i, j, here in places:
      seen = x[here]
      share = ~np.isnan(seen)
      if reduce is np.nanmax:
        share = seen == y[:, None, None, i, j]
      share = share / share.sum((1, 2), keepdims=True)
      dx[here] += share * slope[:, None, None, i, j]
    return inside(dx, pads)

  return y, pullback


def value_and_slopes(functions, slope, *args):
  """Returns outputs and gradients of functions by name, from one program."""

  def both(fun, args):
    y, pullback = jax.vjp(fun, *args)
    return y, pullback(slope)

  program = jax.jit(
    lambda *args: {k: both(f, args) for k, f in functions.items()}
  )
  return program(*args)


def conv_with(lowering, stride, padding, groups):
  def conv(x, kernel):
    return lowerings.conv(
      x,
      kernel,
      stride=stride,
      padding=padding,
      groups=groups,
      lowering=lowering,
    )

  return conv


def convs_with(stride, padding, groups):
  return {name: conv_with(name, stride, padding, groups) for name in EACH}


def check_each(convs, slope, args, y, pullback):
  found = value_and_slopes(convs, slope, *args)
  assert found.keys() == {*EACH}
  for name in found:
    assert_close(found[name], (y, pullback(slope)))


def _case(kind, kernel, stride, padding):
  """Marks as slow all but two places of each kind.

  Of large windows only one is not: kinds differ in small ones alike.
  """
  is_large = max(kernel) > 3
  places = FEWER[:1] if is_large else (FEWER[0], FEWER[2])
  is_slow = (stride, padding) not in places or (is_large and kind != "full")
  marks = pytest.mark.slow if is_slow else ()
  return pytest.param(kind, kernel, stride, padding, marks=marks)


@pytest.mark.parametrize(
  ("kind", "kernel", "stride", "padding"), [_case(*case) for case in CASES]
)
def test_convolution(kind, kernel, stride, padding):
  inputs, features, groups = KINDS[kind]
  x = normal(0, 2, 7, 10, inputs)  # an odd and an even size
  k = normal(1, *kernel, inputs // groups, features)
  y, pullback = numpy_conv(x, k, stride, padding, groups)
  slope = normal(2, *y.shape)  # makes every output's gradient differ
  flax_layer = nn.Conv(
    features,
    kernel,
    stride,
    padding,
    feature_group_count=groups,
    use_bias=False,
  )
  assert_close(flax_layer.apply({"params": {"kernel": k}}, x), y)
  check_each(convs_with(stride, padding, groups), slope, (x, k), y, pullback)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("kernel", "groups"), [((1, 1), 1), ((3, 3), 1), ((3, 3), 32), ((3, 3), 256)]
)
def test_convolution_of_many_channels(kernel, groups):
  """Sums as long as those of a real layer are as close."""
  x = normal(0, 2, 5, 5, 256)
  k = normal(1, *kernel, 256 // groups, 256)
  y, pullback = numpy_conv(x, k, 1, "SAME", groups)
  slope = normal(2, *y.shape)
  check_each(convs_with(1, "SAME", groups), slope, (x, k), y, pullback)


POOLS = [
  (2, 2, "VALID"),
  (3, 3, "VALID"),
  (3, 2, "VALID"),
  (3, 1, "SAME"),
  (3, 2, "SAME"),
  (3, 2, ((1, 1), (1, 1))),
  (3, 2, ((0, 1), (0, 1))),
]
each_pool = pytest.mark.parametrize(
  ("window", "stride", "padding"),
  # Two without padding, and two with it.
  [
    pytest.param(*case, marks=() if i in (0, 2, 4, 6) else pytest.mark.slow)
    for i, case in enumerate(POOLS)
  ],
)
each_size = pytest.mark.parametrize(
  "size", [pytest.param((8, 6), marks=pytest.mark.slow), (7, 9)]
)


def pools_with(pool, window, stride, padding):
  options = {"window": window, "stride": stride, "padding": padding}
  return {
    name: functools.partial(pool, **options, lowering=name) for name in EACH
  }


@each_size
@each_pool
def test_max_pool(window, stride, padding, size):
  x = normal(0, 2, *size, 3)
  y, pullback = numpy_pool(x, window, stride, padding, np.nanmax)
  flax = nn.max_pool(x, (window, window), (stride, stride), padding)
  np.testing.assert_array_equal(flax, y)
  slope = normal(1, *y.shape)
  pools = pools_with(lowerings.max_pool, window, stride, padding)
  for actual, (dx,) in value_and_slopes(pools, slope, x).values():
    np.testing.assert_array_equal(actual, y)
    assert_close(dx, pullback(slope))


@each_size
@each_pool
def test_avg_pool_does_not_count_padding(window, stride, padding, size):
  x = normal(0, 2, *size, 3)
  y, pullback = numpy_pool(x, window, stride, padding, np.nanmean)
  flax = nn.avg_pool(
    *(x, (window, window), (stride, stride), padding),
    count_include_pad=False,
  )
  assert_close(flax, y)
  slope = normal(1, *y.shape)
  pools = pools_with(lowerings.avg_pool, window, stride, padding)
  for actual in value_and_slopes(pools, slope, x).values():
    assert_close(actual, (y, (pullback(slope),)))


@each_pool
def test_max_pool_conserves_the_gradient_of_ties(window, stride, padding):
  """The gradients of each window sum to 1, however ties are split."""
  x = np.zeros((1, 6, 6, 1), np.float32)
  num_windows = nn.max_pool(x, (window, window), (stride, stride), padding).size
  size = round(num_windows**0.5)
  pools = pools_with(lowerings.max_pool, window, stride, padding)
  slope = np.ones((1, size, size, 1), np.float32)
  for _, (grad,) in value_and_slopes(pools, slope, x).values():
    assert grad.sum() == pytest.approx(num_windows)
    assert grad.min() >= 0
    if stride == window:  # each cell is of one window
      tiles = grad.reshape(6 // window, window, 6 // window, window)
      np.testing.assert_allclose(tiles.sum((1, 3)), 1, rtol=1e-6)


@pytest.mark.parametrize(
  "over",
  ["vmap", *(pytest.param(x, marks=pytest.mark.slow) for x in ("map", "scan"))],
)
@pytest.mark.parametrize("kind", ["full", "depthwise", "grouped"])
def test_stacked_kernels(kind, over):
  """Batched or looped, trials give the same results as alone."""
  inputs, features, groups = KINDS[kind]
  kernel = normal(0, 3, 3, 3, inputs // groups, features)
  x = normal(1, 3, 2, 6, 5, inputs)
  slope = normal(2, 2, 3, 3, features)
  expected = []
  for i in range(3):
    y, pullback = numpy_conv(x[i], kernel[i], 2, "SAME", groups)
    expected.append((y, pullback(slope)))

  def each(pair):
    found = {}
    for name, conv in convs_with(2, "SAME", groups).items():
      y, pullback = jax.vjp(conv, *pair)
      found[name] = y, pullback(slope)
    return found

  run = {
    "vmap": jax.vmap(each),
    "map": lambda pairs: lax.map(each, pairs),
    "scan": lambda pairs: lax.scan(
      lambda _, pair: (None, each(pair)), None, pairs
    )[1],
  }[over]
  for actual in jax.jit(run)((x, kernel)).values():
    for i in range(3):
      assert_close(jax.tree.map(lambda a, i=i: a[i], actual), expected[i])


@pytest.mark.parametrize("lowering", EACH)
def test_bfloat16_stays_bfloat16(lowering):
  """The results are as close as 8 bits of precision allow."""
  x = normal(0, 2, 8, 8, 6).astype(jnp.bfloat16)
  for inputs, features, groups in KINDS.values():
    kernel = normal(1, 3, 3, inputs // groups, features).astype(jnp.bfloat16)
    seen = x[..., :inputs]
    y = jax.jit(conv_with(lowering, 1, "SAME", groups))(seen, kernel)
    assert y.dtype == jnp.bfloat16
    exact, _ = numpy_conv(seen, kernel.astype(np.float32), 1, "SAME", groups)
    error = np.abs(np.asarray(y, np.float64) - exact).max()
    assert error < 0.02 * np.abs(exact).max()
  for pool in (lowerings.max_pool, lowerings.avg_pool):
    for window, stride, padding in POOLS:
      fun = functools.partial(
        pool, window=window, stride=stride, padding=padding, lowering=lowering
      )
      assert jax.eval_shape(fun, x).dtype == jnp.bfloat16


@pytest.mark.parametrize(
  "padding", [pytest.param("SAME", marks=pytest.mark.slow), ((2, 3), (1, 2))]
)
def test_a_kernel_that_the_image_is_smaller_than(padding):
  x, k = normal(0, 2, 2, 3, 4), normal(1, 5, 5, 4, 3)
  y, pullback = numpy_conv(x, k, 1, padding, 1)
  slope = normal(2, *y.shape)
  check_each(convs_with(1, padding, 1), slope, (x, k), y, pullback)


@pytest.mark.parametrize("lowering", EACH)
@pytest.mark.parametrize("kind", ["full", "depthwise", "grouped"])
def test_derivatives_forward_and_of_derivatives(kind, lowering):
  """Derivatives follow from a convolution being linear in each operand."""
  inputs, features, groups = KINDS[kind]
  x, dx = normal(0, 2, 7, 10, inputs), normal(1, 2, 7, 10, inputs)
  k, dk = (normal(i, 3, 3, inputs // groups, features) for i in (2, 3))
  y, _ = numpy_conv(x, k, 2, "SAME", groups)
  slope = normal(4, *y.shape)
  conv = conv_with(lowering, 2, "SAME", groups)

  _, tangent = jax.jit(lambda: jax.jvp(conv, (x, k), (dx, dk)))()
  expected = sum(
    numpy_conv(*operands, 2, "SAME", groups)[0]
    for operands in ((dx, k), (x, dk))
  )
  assert_close(tangent, expected)

  def along(x, k):
    x_slope, k_slope = jax.vjp(conv, x, k)[1](slope)
    return (x_slope * dx).sum() + (k_slope * dk).sum()

  second = jax.jit(jax.grad(along, argnums=(0, 1)))(x, k)
  x_slope, _ = numpy_conv(x, dk, 2, "SAME", groups)[1](slope)
  _, k_slope = numpy_conv(dx, k, 2, "SAME", groups)[1](slope)
  assert_close(second, (x_slope, k_slope))


@pytest.mark.parametrize("backend", ["cpu", "gpu", "tpu", "another"])
def test_auto_is_known_on_every_backend(backend, monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: backend)
  x = jnp.zeros((2, 7, 10, 6))
  for lowering in EACH:
    for kernel in ((1, 1), (3, 3), (9, 9)):
      for groups in (1, 2, 6):
        k = jnp.zeros((*kernel, 6 // groups, 6))
        conv = conv_with(lowering, 1, "SAME", groups)
        assert jax.eval_shape(conv, x, k).shape == x.shape
    for pool in (lowerings.max_pool, lowerings.avg_pool):
      fun = functools.partial(pool, window=2, stride=2, lowering=lowering)
      assert jax.eval_shape(fun, x).shape == (2, 3, 5, 6)


def program(lowering, kind):
  """Returns the program of the output and both gradients."""
  inputs, features, groups = KINDS[kind]
  conv = conv_with(lowering, 1, "SAME", groups)
  x = jnp.zeros((1, 6, 6, inputs))
  kernel = jnp.zeros((3, 3, inputs // groups, features))
  slope = jnp.zeros((1, 6, 6, features))
  both = jax.jit(lambda *args: jax.vjp(conv, *args)[1](slope))
  return both.lower(x, kernel).as_text()


@pytest.mark.parametrize("kind", ["full", "depthwise", "grouped"])
def test_only_lax_uses_xlas_convolutions(kind):
  assert "stablehlo.convolution" in program("lax", kind)
  for lowering in ("shift", "matmul"):
    assert "stablehlo.convolution" not in program(lowering, kind)


def test_auto_has_no_convolution_in_groups_on_a_cpu(monkeypatch):
  """XLA's grouped convolutions are slow on a CPU (jax#13800)."""
  monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
  for kind in ("full", "depthwise", "multiplied", "grouped"):
    for count in ("feature_group_count", "batch_group_count"):
      counts = re.findall(rf"{count} = (\d+)", program("auto", kind))
      assert set(counts) <= {"1"}


def test_stored_values_are_read_not_computed_again():
  def blocks(x, kernels, stored):
    for kernel in kernels:
      x = stored(x + jnp.tanh(x @ kernel))
    return (x * x).sum()

  x, kernels = normal(0, 8, 8), list(normal(1, 4, 8, 8))
  programs = [
    jax.jit(jax.value_and_grad(functools.partial(blocks, stored=stored)))
    for stored in (lowerings.stored, lambda x: x)
  ]
  assert_close(*(program(x, kernels) for program in programs))
  calls = [
    program.lower(x, kernels).compile().as_text().count(" call(")
    for program in programs
  ]
  # Of each block, once forward and once backward.
  on_cpu = jax.default_backend() == "cpu"
  assert calls == [2 * len(kernels) if on_cpu else 0, 0]
