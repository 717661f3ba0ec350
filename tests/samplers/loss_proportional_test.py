"""Draws by remembered losses against the formula in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import toy

from alcurr.samplers import loss_proportional

N, B = 60, 8
POOL = toy.make_pool(N)
LOSS = np.random.default_rng(0).exponential(size=N).astype(np.float32)


def _run(sampler, steps, loss=LOSS):
  """Returns the state, and the draws [T, B] of that many steps."""

  def step(state, key):
    draw = sampler.sample(key, state, POOL)
    return sampler.update(state, draw, jnp.asarray(loss)[draw.index]), draw

  keys = jax.random.split(jax.random.key(1), steps)
  state = sampler.init(jax.random.key(0), POOL)
  return jax.jit(lambda s: jax.lax.scan(step, s, keys))(state)


def _slots(sampler, state, num=20_000):
  keys = jax.random.split(jax.random.key(2), num)
  sample = jax.jit(jax.vmap(sampler.sample, (0, None, None)))
  return jax.device_get(sample(keys, state, POOL))


def _expected(loss, drawn, power, u):
  """Returns P(i) of the docstring, [N]."""
  n = drawn.sum()
  by_loss = np.where(drawn, loss.astype(np.float64) ** power, 0)
  by_loss /= by_loss.sum()
  return np.where(drawn, n / N * ((1 - u) * by_loss + u / n), 1 / N)


@pytest.mark.parametrize(
  ("power", "u"),
  [
    (2.0, 0.1),
    *(
      pytest.param(*case, marks=pytest.mark.slow)
      for case in ((1.0, 0.1), (2.0, 0.0), (0.5, 1.0))
    ),
  ],
)
def test_after_a_pass_numpy_draws_the_same(power, u):
  sampler = loss_proportional(batch_size=B, power=power, uniform_fraction=u)
  state, _ = _run(sampler, steps=12)
  draws = _slots(sampler, state)
  expected = _expected(LOSS, np.ones(N, bool), power, u)
  np.testing.assert_allclose(draws.prob, expected[draws.index], rtol=1e-5)
  count = np.bincount(draws.index.ravel(), minlength=N)
  p = scipy.stats.chisquare(count, expected * draws.index.size).pvalue
  assert p > 1e-4
  assert (draws.weight == 1).all()


def test_first_draws_every_example_once_before_any_returns():
  _, draws = _run(loss_proportional(batch_size=5), steps=N // 5)
  assert sorted(np.ravel(draws.index)) == list(range(N))
  assert (draws.prob == 1).all() and (draws.weight == 1).all()


def test_an_example_never_seen_counts_as_the_mean_of_the_seen():
  """Marginally, over the keys of draws and of the order of the unseen."""
  sampler = loss_proportional(batch_size=B, unseen="mean", correction=1.0)
  state, before = _run(sampler, steps=3)
  drawn = np.zeros(N, bool)
  drawn[np.ravel(before.index)] = True
  assert B < drawn.sum() < 3 * B  # some came back
  np.testing.assert_array_equal(state.drawn, drawn)
  assert state.num_drawn == drawn.sum()
  expected = _expected(LOSS, drawn, 1.0, 0.1)
  draws = _slots(sampler, state)
  seen = drawn[draws.index]
  np.testing.assert_allclose(
    draws.prob[seen], expected[draws.index[seen]], rtol=1e-5
  )
  # An unbiased estimate of the mean of anything known of the seen.
  np.testing.assert_allclose(
    draws.weight, np.where(seen, 1 / (N * expected[draws.index]), 1), rtol=1e-5
  )
  value = np.where(drawn, LOSS**3, 0)
  estimate = draws.weight * value[draws.index]
  error = estimate.std() / estimate.size**0.5
  assert abs(estimate.mean() - value.mean()) < 4 * error
  count = np.bincount(draws.index[seen], minlength=N)[drawn]
  share = expected[drawn] / expected[drawn].sum()
  assert scipy.stats.chisquare(count, share * count.sum()).pvalue > 1e-4
  # A batch draws no unseen example twice.
  for index in draws.index[:200]:
    new = index[~drawn[index]]
    assert len(set(new.tolist())) == len(new)


def test_losses_that_are_not_finite_are_counted_and_not_learned():
  sampler = loss_proportional(batch_size=N)
  state, _ = _run(sampler, steps=1)
  draw = jax.jit(sampler.sample)(jax.random.key(5), state, POOL)
  loss = np.resize(np.float32([np.nan, np.inf, -np.inf]), N)
  loss[3] = 7.0
  update = jax.jit(sampler.update)
  after = update(state, draw, loss)
  weight = LOSS.copy()
  weight[draw.index[3]] = 7.0
  np.testing.assert_allclose(after.tree.levels[0][:N], weight)
  assert (int(state.ignored), int(after.ignored)) == (0, N - 1)
  # A step without feedback changes nothing, once all have been drawn.
  skipped = update(after, draw, ())
  np.testing.assert_array_equal(skipped.tree.levels[0], after.tree.levels[0])
  assert int(skipped.ignored) == N - 1


def test_an_example_drawn_without_a_finite_loss_counts_as_the_mean():
  sampler = loss_proportional(batch_size=B)
  state, draws = _run(sampler, steps=2)
  seen = np.ravel(draws.index)
  draw = jax.jit(sampler.sample)(jax.random.key(5), state, POOL)
  state = jax.jit(sampler.update)(state, draw, jnp.full(B, jnp.nan))
  weight = np.zeros(N, np.float32)
  weight[seen] = LOSS[seen]
  weight[draw.index] = LOSS[seen].mean()
  np.testing.assert_allclose(state.tree.levels[0][:N], weight, rtol=1e-6)


def test_losses_of_zero_mean_uniform():
  sampler = loss_proportional(batch_size=B, uniform_fraction=0.0, unseen="mean")
  state, draws = _run(sampler, steps=2, loss=np.zeros(N))
  drawn = np.zeros(N, bool)
  drawn[np.ravel(draws.index)] = True
  draws = _slots(sampler, state)
  seen = drawn[draws.index]
  np.testing.assert_allclose(draws.prob[seen], 1 / N, rtol=1e-5)
  count = np.bincount(draws.index[seen], minlength=N)[drawn]
  assert scipy.stats.chisquare(count).pvalue > 1e-4


@pytest.mark.parametrize(
  ("changes", "argument"),
  [
    ({"batch_size": 0}, "batch_size"),
    ({"power": -1}, "power"),
    ({"uniform_fraction": 1.5}, "uniform_fraction"),
    ({"correction": 2}, "correction"),
    ({"correction": 1.0, "uniform_fraction": 0}, "correction"),
    ({"unseen": "last"}, "unseen"),
  ],
)
def test_impossible_arguments_are_refused_at_once(changes, argument):
  with pytest.raises(ValueError, match=f"^{argument} "):
    loss_proportional(**({"batch_size": 8} | changes))


def test_a_batch_larger_than_the_pool_is_refused():
  with pytest.raises(ValueError, match=r"^batch_size 61 is"):
    loss_proportional(batch_size=N + 1).init(jax.random.key(0), POOL)
