"""The sum tree against NumPy: sums, repeated indices, frequencies, edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from alcurr.samplers import _sum_tree as sum_tree

F = sum_tree.FAN_OUT


def _assert_sums(tree, weight):
  """Compares every node with sums in float64 of the weights [N]."""
  level = np.asarray(weight, np.float64)
  for i, found in enumerate(tree.levels):
    level = np.pad(level, (0, len(found) - len(level)))
    np.testing.assert_allclose(found, level, rtol=1e-6, err_msg=f"level {i}")
    level = level.reshape(-1, F).sum(1)
  assert len(tree.levels[-1]) == F


def _draws(tree, num, size, seed=0):
  draw = jax.jit(sum_tree.draw, static_argnums=(2, 3))
  return jax.device_get(draw(jax.random.key(seed), tree, num, size))


@pytest.mark.parametrize("num", [1, 16, 17, 5000])
def test_a_tree_has_the_sums_of_its_leaves(num):
  weight = np.random.default_rng(0).random(num, np.float32)
  tree = sum_tree.build(jnp.asarray(weight))
  _assert_sums(tree, weight)
  np.testing.assert_allclose(sum_tree.total(tree), weight.sum(), rtol=1e-6)
  np.testing.assert_array_equal(sum_tree.get(tree, jnp.arange(num)), weight)


def test_of_a_repeated_index_the_last_weight_counts():
  weight = np.arange(40, dtype=np.float32)
  tree = sum_tree.build(jnp.asarray(weight))
  index = np.array([3, 17, 3, 39, 17, 3, 0], np.int32)
  new = np.array([9, 8, 7, 6, 5, 4, 3], np.float32)
  tree = jax.jit(sum_tree.put)(tree, index, new)
  for i, value in zip(index, new, strict=True):
    weight[i] = value
  _assert_sums(tree, weight)


def test_the_last_valid_slot_of_an_index_writes():
  index = np.array([5, 2, 5, 2, 7, 5], np.int32)
  valid = np.array([1, 1, 1, 0, 0, 0], bool)
  writes = sum_tree.last_writes(index, valid)
  nowhere = sum_tree.NOWHERE
  assert writes.tolist() == [nowhere, 2, 5, nowhere, nowhere, nowhere]


def test_a_million_updates_leave_no_drift():
  """Weights of 12 orders of magnitude, with repeated indices."""
  rng = np.random.default_rng(1)
  num, steps, size = 1000, 2000, 500
  index = rng.integers(num, size=(steps, size), dtype=np.int32)
  new = np.float32(10.0 ** rng.uniform(-6, 6, (steps, size)))
  weight = np.ones(num, np.float32)
  for i, w in zip(index, new, strict=True):
    weight[i] = w  # NumPy also keeps the last of a repeated index

  @jax.jit
  def run(tree, index, new):
    def step(tree, x):
      return sum_tree.put(tree, *x), None

    return jax.lax.scan(step, tree, (index, new))[0]

  tree = run(sum_tree.build(jnp.ones(num)), index, new)
  _assert_sums(tree, weight)
  # As a tree built of these weights, up to the order of 16 additions.
  fresh = sum_tree.build(jnp.asarray(weight))
  for a, b in zip(tree.levels, fresh.levels, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_leaves_are_drawn_in_proportion_to_their_weights():
  rng = np.random.default_rng(2)
  weight = np.float32(rng.exponential(size=300) * (rng.random(300) < 0.7))
  index, prob = _draws(sum_tree.build(jnp.asarray(weight)), 300, 200_000)
  expected = weight.astype(np.float64) / weight.sum(dtype=np.float64)
  np.testing.assert_allclose(prob, expected[index], rtol=1e-5)
  count = np.bincount(index, minlength=300)
  assert (count[weight == 0] == 0).all()
  some = weight > 0
  p = scipy.stats.chisquare(count[some], 200_000 * expected[some]).pvalue
  assert p > 1e-4


@pytest.mark.parametrize("edge", ["first", "last", "scattered"])
def test_a_leaf_of_weight_zero_is_never_drawn(edge):
  """Also at the right edge, for any random number, and beside tiny weights."""
  num = 1000
  positive = {
    "first": np.arange(num) == 0,
    "last": np.arange(num) < 3,
    "scattered": np.random.default_rng(3).random(num) < 0.01,
  }[edge]
  weight = np.where(positive, 10.0 ** np.linspace(-30, 20, num), 0)
  index, prob = _draws(
    sum_tree.build(jnp.asarray(weight, jnp.float32)), num, 100_000
  )
  assert positive[index].all()
  assert (prob > 0).all()


def test_no_rounding_picks_a_child_of_weight_zero():
  """With the largest random number, and one for which sums round to it."""
  rng = np.random.default_rng(4)
  weight = np.float32(rng.random((4000, F)) * (rng.random((4000, F)) < 0.3))
  weight[:, 5] = 0.1
  for uniform in (0.0, 1 - 2.0**-24, 1.0):
    picked = sum_tree._pick(jnp.full(4000, uniform, jnp.float32), weight)
    assert (weight[np.arange(4000), picked] > 0).all()


def test_weights_that_are_all_zero_mean_uniform():
  index, prob = _draws(sum_tree.build(jnp.zeros(50)), 50, 50_000)
  np.testing.assert_allclose(prob, 1 / 50)
  count = np.bincount(index, minlength=50)
  assert len(count) == 50
  assert scipy.stats.chisquare(count).pvalue > 1e-4


@pytest.mark.slow
def test_more_leaves_than_float32_can_count():
  """Every third of 2^24 + 10^6 leaves weighs 2: neighbours stay distinct."""
  num, draws = 2**24 + 1_000_003, 300_000
  weight = np.ones(num, np.float32)
  weight[::3] = 2
  index, prob = _draws(jax.jit(sum_tree.build)(weight), num, draws)
  assert (index >= 0).all() and (index < num).all()
  np.testing.assert_allclose(
    prob, weight[index] / weight.sum(dtype=np.float64), rtol=1e-5
  )
  count = np.bincount(index % 3)
  expected = np.array([0.5, 0.25, 0.25]) * draws
  assert scipy.stats.chisquare(count, expected).pvalue > 1e-4
  # Across the pool, and by residue among the leaves beyond 2^24.
  share = np.diff(np.linspace(0, num, 41).round())
  count, _ = np.histogram(index, np.linspace(0, num, 41).round())
  expected = draws * share / num
  assert scipy.stats.chisquare(count, expected).pvalue > 1e-4
  beyond = np.bincount(index[index > 2**24] % 6, minlength=6)
  expected = np.array([2, 1, 1, 2, 1, 1]) / 8 * beyond.sum()
  assert scipy.stats.chisquare(beyond, expected).pvalue > 1e-4


def test_impossible_weights_are_made_possible():
  weight = np.array([np.nan, -1, np.inf, 3e38, 2.0], np.float32)
  tree = sum_tree.build(jnp.asarray(weight))
  assert np.isfinite(sum_tree.total(tree))
  index, prob = _draws(tree, 5, 1000)
  assert set(index.tolist()) == {2, 3}
  np.testing.assert_allclose(prob, 0.5)
  tree = sum_tree.put(
    tree, np.array([2, 3, 4, sum_tree.NOWHERE]), weight[[0, 1, 4, 4]]
  )
  assert np.unique(_draws(tree, 5, 1000)[0]).tolist() == [4]
