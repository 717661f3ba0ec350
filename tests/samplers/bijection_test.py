"""The keyed bijection: a permutation for every n, and a uniform one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from alcurr.samplers import bijection

permute = jax.jit(bijection.permute)


@settings(max_examples=40, deadline=None)
@given(
  st.integers(1, 5000), st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1)
)
def test_every_index_is_hit_once(n, seed, salt):
  # A fixed shape for one compilation: indices beyond n repeat the last.
  index = np.arange(5000).clip(max=n - 1)
  image = np.asarray(permute(jax.random.key(seed), salt, index, n))
  assert sorted(image[:n]) == list(range(n))


@pytest.mark.parametrize("n", [2**24 + 1, 50_426_266, 2**31 - 1])
def test_large_pools_stay_exact(n):
  """No collision and no loss of range where float32 would round."""
  index = np.concatenate([np.arange(50_000), np.arange(n - 50_000, n)]).astype(
    np.int32
  )
  image = np.asarray(permute(jax.random.key(0), 1, index, n)).astype(np.int64)
  assert len(np.unique(image)) == len(index)
  assert image.min() >= 0 and image.max() < n
  assert stats.kstest(image / n, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("n", [2, 3, 5, 8, 9, 31])
@pytest.mark.parametrize("by", ["key", "salt"])
def test_first_two_places_are_uniform(n, by):
  """Chi-square of the ordered pair at places 0 and 1 over 20,000 orders."""
  orders = 20_000
  index = jnp.arange(2)
  if by == "key":
    keys = jax.random.split(jax.random.key(7), orders)
    image = jax.vmap(lambda k: permute(k, 0, index, n))(keys)
  else:
    salt = jnp.arange(orders)[:, None]
    image = permute(jax.random.key(7), salt, index[None], n)
  first, second = np.asarray(image).T
  count = np.bincount(first * n + second, minlength=n * n).reshape(n, n)
  pairs = count[~np.eye(n, dtype=bool)]
  assert stats.chisquare(pairs).pvalue > 1e-4


def test_arguments_broadcast():
  n = jnp.array([3, 1000, 77])
  together = permute(jax.random.key(0), jnp.array([5, 6, 7]), 2, n)
  alone = [
    int(permute(jax.random.key(0), salt, 2, size))
    for salt, size in ((5, 3), (6, 1000), (7, 77))
  ]
  assert together.tolist() == alone
