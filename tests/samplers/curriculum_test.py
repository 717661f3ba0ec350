"""The simple curriculum against a sort, and the orders it may read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from alcurr.samplers import curriculum

N, B = 60, 7
POOL = toy.make_pool(N)


def _run(sampler, steps, pool=POOL):
  """Draws of `steps` steps, [T, ...] each."""

  def step(state, key):
    draw = sampler.sample(key, state, pool)
    return sampler.update(state, draw, ()), draw

  keys = jax.random.split(jax.random.key(1), steps)
  state = jax.jit(sampler.init)(jax.random.key(0), pool)
  _, draws = jax.jit(lambda s: jax.lax.scan(step, s, keys))(state)
  return jax.device_get(draws)


@pytest.mark.parametrize("descending", [False, True])
def test_passes_are_the_pool_sorted_by_difficulty(descending):
  draws = _run(curriculum(batch_size=B, descending=descending), steps=N)
  order = np.argsort(np.asarray(POOL.scores["difficulty"]), kind="stable")
  order = order[::-1] if descending else order
  # N steps of B examples are B whole passes, batches lying across two.
  passes = draws.index.reshape(B, N)
  np.testing.assert_array_equal(passes, np.tile(order, (B, 1)))


def test_a_pass_visits_every_example_once_in_rising_difficulty():
  index = _run(curriculum(batch_size=6), steps=N // 6).index.reshape(-1)
  assert sorted(index) == list(range(N))
  assert (np.diff(np.asarray(POOL.scores["difficulty"])[index]) >= 0).all()


def test_the_draw_says_what_it_is():
  draws = _run(curriculum(batch_size=B), steps=12)
  np.testing.assert_array_equal(
    draws.arm,
    np.asarray(POOL.partitions["difficulty_in_pool"].arm)[draws.index],
  )
  assert (draws.prob == 1).all() and (draws.weight == 1).all()
  for arm, policy in zip(draws.arm, draws.policy, strict=True):
    share = np.bincount(arm, minlength=toy.NUM_ARMS) / B
    np.testing.assert_allclose(policy, share, rtol=1e-6)


def test_the_balanced_order_keeps_the_classes_shares_in_each_prefix():
  """Counts against the pool's, at every batch of a pass."""
  pool = toy.make_pool(600)
  label = np.asarray(pool.label)
  index = _run(
    curriculum(batch_size=20, partition="difficulty"), 30, pool
  ).index
  size = np.bincount(label)
  for seen in range(20, 601, 20):
    count = np.bincount(label[index.reshape(-1)[:seen]], minlength=4)
    assert np.abs(count - seen * size / 600).max() <= 2
  # Within a class by difficulty.
  drawn = index.reshape(-1)
  for c in range(4):
    in_class = drawn[label[drawn] == c]
    assert (np.diff(np.asarray(pool.scores["difficulty"])[in_class]) >= 0).all()


def test_the_shuffled_order_says_nothing_of_difficulty():
  pool = toy.make_pool(2000)
  index = _run(curriculum(batch_size=20, partition="shuffled"), 100, pool).index
  drawn = index.reshape(-1)
  assert sorted(drawn) == list(range(2000))
  difficulty = np.asarray(pool.scores["difficulty"])[drawn]
  assert abs(np.corrcoef(difficulty, np.arange(2000))[0, 1]) < 4 / 2000**0.5


def test_positions_near_the_int32_limit_wrap_right():
  sampler = curriculum(batch_size=5)
  n = 2**31 - 1
  state = sampler.init(jax.random.key(0), POOL)._replace(
    num_examples=jnp.int32(n), position=jnp.int32(n - 2)
  )
  assert sampler.update(state, None, ()).position.tolist() == 3


def test_what_does_not_fit_is_refused():
  with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
    curriculum(batch_size=0)
  key = jax.random.key(0)
  with pytest.raises(ValueError, match="batch_size 61 is larger than the pool"):
    curriculum(batch_size=61).init(key, POOL)
  with pytest.raises(ValueError, match="not 'margin'"):
    curriculum(batch_size=2, partition="margin").init(key, POOL)
