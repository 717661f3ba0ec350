"""Draws by rank against the paper's law and a sort in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import toy

from alcurr.core.schedules import exponential
from alcurr.samplers import loshchilov_hutter
from alcurr.samplers._loshchilov_hutter import draw_ranks

N, B = 60, 8
POOL = toy.make_pool(N)
LOSS = np.random.default_rng(0).exponential(size=N).astype(np.float32)


def _law(s, num=N):
  q = np.exp(-np.log(s) / (num - 1))
  p = q ** np.arange(num)
  return p / p.sum()


@pytest.mark.parametrize("s", [1.0, 1.01, 100.0, 1e6])
@pytest.mark.parametrize("num", [2, 61, 1000])
def test_ranks_follow_the_geometric_law(s, num):
  rank, prob = jax.device_get(
    draw_ranks(jax.random.key(0), jnp.float32(s), num, 100_000)
  )
  expected = _law(s, num)
  np.testing.assert_allclose(expected[0] / expected[-1], s)
  np.testing.assert_allclose(prob, expected[rank], rtol=2e-5)
  count = np.bincount(rank, minlength=num)
  common = expected * 100_000 >= 5
  observed = np.append(count[common], count[~common].sum())
  wanted = np.append(expected[common], expected[~common].sum()) * 100_000
  some = wanted > 0
  assert scipy.stats.chisquare(observed[some], wanted[some]).pvalue > 1e-4


def test_more_ranks_than_float32_can_count():
  num, draws = 50_000_017, 200_000
  rank, _ = jax.device_get(
    draw_ranks(jax.random.key(1), jnp.float32(100), num, draws)
  )
  assert (rank >= 0).all() and (rank < num).all()
  edges = np.linspace(0, num, 41).round()
  cumulative = np.expm1(-np.log(100) / (num - 1) * edges)
  expected = np.diff(cumulative) / cumulative[-1] * draws
  count, _ = np.histogram(rank, edges)
  assert scipy.stats.chisquare(count, expected).pvalue > 1e-4
  # Neighbours beyond 2^24 are told apart.
  residue = np.bincount(rank[rank > 2**24] % 7)
  assert scipy.stats.chisquare(residue).pvalue > 1e-4


def _run(sampler, steps, loss=LOSS):
  """Returns the states and draws after each step, [T, ...]."""

  def step(state, key):
    draw = sampler.sample(key, state, POOL)
    state = sampler.update(state, draw, jnp.asarray(loss)[draw.index])
    return state, (state, draw)

  keys = jax.random.split(jax.random.key(1), steps)
  state = sampler.init(jax.random.key(0), POOL)
  _, both = jax.jit(lambda s: jax.lax.scan(step, s, keys))(state)
  return jax.device_get(both)


def test_after_a_pass_the_examples_are_sorted_by_falling_loss():
  state, draws = _run(loshchilov_hutter(batch_size=6), steps=15)
  first = draws.index[:10]
  assert sorted(first.ravel()) == list(range(N))
  assert (draws.prob[:10] == 1).all()
  order = np.argsort(-LOSS, kind="stable")
  np.testing.assert_array_equal(state.order[9:], np.tile(order, (6, 1)))
  rank = np.argsort(order)
  np.testing.assert_allclose(
    draws.prob[10:], _law(100.0)[rank[draws.index[10:]]], rtol=2e-5
  )


def test_unseen_examples_come_first_and_equal_ones_keep_their_order():
  """Without a first pass, sorted at every third step; some losses are NaN."""
  loss = np.where(np.arange(N) % 5, LOSS.round(1), np.nan)
  sampler = loshchilov_hutter(
    batch_size=B, sort_interval=3, first_pass=False, pressure=1.0
  )
  state, draws = _run(sampler, steps=12, loss=loss)
  key, order = np.full(N, np.inf), state.order[0]
  assert not np.array_equal(order, np.arange(N))
  for t in range(12):
    for i in draws.index[t]:
      key[i] = loss[i] if np.isfinite(loss[i]) else key[i]
    if t % 3 == 2:
      order = order[np.argsort(-key[order], kind="stable")]
    np.testing.assert_array_equal(state.order[t], order)
  np.testing.assert_array_equal(state.memory.seen[-1], np.isfinite(key))
  num_bad = np.isnan(loss[draws.index]).sum()
  assert state.memory.ignored[-1] == num_bad > 0


def test_the_pressure_follows_its_schedule():
  schedule = exponential(value=100, end=1, num_steps=10)
  sampler = loshchilov_hutter(
    batch_size=B, pressure=schedule, first_pass=False, sort_interval=100
  )
  state, draws = _run(sampler, steps=10)
  expected = 100 ** (1 - np.arange(1, 11) / 10)
  np.testing.assert_allclose(state.pressure, expected, rtol=1e-4)
  rank = np.argsort(state.order[0])
  np.testing.assert_allclose(
    draws.prob[5], _law(100**0.5)[rank[draws.index[5]]], rtol=1e-4
  )


@pytest.mark.parametrize(
  ("changes", "argument"),
  [
    ({"batch_size": 0}, "batch_size"),
    ({"pressure": 0.5}, "pressure"),
    ({"pressure": float("nan")}, "pressure"),
    ({"sort_interval": 0}, "sort_interval"),
  ],
)
def test_impossible_arguments_are_refused_at_once(changes, argument):
  with pytest.raises(ValueError, match=f"^{argument} "):
    loshchilov_hutter(**({"batch_size": 8} | changes))
