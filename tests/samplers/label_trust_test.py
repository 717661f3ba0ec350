"""Trust in labels, against NumPy, and on planted mistakes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from alcurr.data.pool import make_gather
from alcurr.samplers import _label_trust as trust
from alcurr.samplers import label_trust
from alcurr.training import step

RNG = np.random.default_rng(0)


def test_p_values_are_shares_of_the_yardsticks_of_the_class():
  memory, yardstick = RNG.normal(size=(2, 60)).astype(np.float32).round(1)
  label, other = RNG.integers(0, 4, (2, 60)).astype(np.int32)
  seen = RNG.random(60) < 0.8
  u = jax.jit(trust.p_values)(memory, label, yardstick, other, seen)
  for i in range(60):
    mine = yardstick[seen & (other == label[i])]
    expected = ((mine < memory[i]).sum() + 0.5) / (len(mine) + 1)
    assert u[i] == pytest.approx(expected)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3, 1.0])
def test_the_rate_is_the_share_of_uniform_p_values(rate):
  """The others are of a beta distribution, near 0."""
  wrong = RNG.random(20_000) < rate
  small = RNG.beta(0.3, 8, 20_000)
  u = np.where(wrong, RNG.random(20_000), small).astype(np.float32)
  seen = np.ones(20_000, bool)
  found = float(jax.jit(trust.estimate_rate)(u, seen))
  assert abs(found - rate) < 0.03


def test_the_probability_is_rate_over_density():
  """By NumPy, in 20 bins whose density decreases anyway."""
  wrong = RNG.random(50_000) < 0.3
  u = np.where(wrong, RNG.random(50_000), RNG.beta(0.5, 9, 50_000))
  u, seen = u.astype(np.float32), RNG.random(50_000) < 0.5
  found = jax.jit(trust.estimate_wrong)(u, seen, jnp.float32(0.3))
  assert (found[~seen] == 0).all()
  density, edges = np.histogram(u[seen], 20, (0, 1), density=True)
  first = np.minimum(0.3 / density[0], 1)
  np.testing.assert_allclose(found[seen & (u < edges[1])], first, rtol=1e-5)
  # It is calibrated: as many as it says are wrong.
  assert found[seen].mean() == pytest.approx(wrong[seen].mean(), abs=0.02)
  likely = seen & (np.asarray(found) > 0.9)
  assert wrong[likely].mean() > 0.85


def test_a_density_that_does_not_increase_is_a_least_squares_fit():
  """Against pooling adjacent violators, step by step."""
  for _ in range(20):
    values = RNG.random(9).astype(np.float32)
    blocks = []
    for value in values:
      blocks.append([value, 1])
      while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
        (a, n), (b, m) = blocks[-2:]
        blocks[-2:] = [[(n * a + m * b) / (n + m), n + m]]
    expected = np.concatenate([[value] * size for value, size in blocks])
    np.testing.assert_allclose(trust._decreasing(values), expected, rtol=1e-5)


def test_ranks_are_within_the_class_and_those_seen():
  memory = RNG.permutation(80).astype(np.float32)
  label = RNG.integers(0, 3, 80).astype(np.int32)
  seen = RNG.random(80) < 0.7
  rank = jax.jit(trust.rank_in_class)(memory, label, seen)
  for i in np.flatnonzero(seen):
    same = memory[seen & (label == label[i])]
    expected = ((same < memory[i]).sum() + 0.5) / len(same)
    assert rank[i] == pytest.approx(expected)


def _noisy(rate, count=2000):
  """Returns a pool whose labels are wrong at a rate, and which are."""
  pool = toy.make_pool(count, seed=3)
  image = np.zeros((count, 4, 4, 1), np.uint8)
  clean = np.asarray(pool.label)
  image[np.arange(count), clean] = 255
  image = np.maximum(image, RNG.integers(0, 100, image.shape))
  wrong = RNG.random(count) < rate
  shift = RNG.integers(1, toy.NUM_CLASSES, count)
  label = np.where(wrong, (clean + shift) % toy.NUM_CLASSES, clean)
  source = pool.source._replace(image=jnp.asarray(image.astype(np.uint8)))
  return pool._replace(
    source=source, label=jnp.asarray(label.astype(np.int32))
  ), wrong


def _train(pool, num_steps, batch_size=50):
  sampler = label_trust(batch_size=batch_size, num_steps=num_steps)
  model, tx = toy.make_linear(), optax.sgd(0.5)
  steps = step.make_steps(model, tx, sampler, make_gather())
  init = jax.jit(step.make_init(model, tx, sampler))
  state = init(jax.random.key(0), pool)
  run = jax.jit(
    lambda state: jax.lax.fori_loop(
      0, num_steps, lambda _, s: steps.measured(s, pool, pool, ())[0], state
    )
  )
  return run(state).sampler_state


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_planted_mistakes_are_found_and_counted(rate):
  pool, wrong = _noisy(rate)
  state = _train(pool, 400)
  assert float(state.rate) == pytest.approx(rate, abs=0.06)
  found = np.asarray(state.wrong) > 0.5
  if rate:
    assert wrong[found].mean() > 0.9 and found[wrong].mean() > 0.8
  else:
    assert np.asarray(state.wrong).mean() < 0.05


def test_nothing_is_weighed_down_in_the_warmup():
  """Three passes, which are less than 30 % of the run."""
  pool, _ = _noisy(0.3, count=500)
  sampler = label_trust(batch_size=50, num_steps=250)
  state = jax.jit(sampler.init)(jax.random.key(0), pool)
  sample, update = jax.jit(sampler.sample), jax.jit(sampler.update)
  for _ in range(30):
    assert not np.asarray(state.wrong).any() and float(state.rate) == 0
    draw = sample(jax.random.key(0), state, pool)
    assert (np.asarray(draw.weight) == 1).all()
    loss = jnp.where(pool.label[draw.index] == 0, 3.0, 0.1)
    other = (pool.label[draw.index] + 1) % 4
    state = update(state, draw, trust.Judgement(loss, jnp.full(50, 2.0), other))
  assert int(state.step) == 30
  # All of class 0 are above their yardsticks, none of the others is.
  assert float(state.share[0]) > 0.9 and (state.share[1:] < 0.1).all()


def test_losses_that_are_not_finite_are_counted_and_not_remembered():
  pool, _ = _noisy(0.0)
  sampler = label_trust(batch_size=50, num_steps=100)
  state = jax.jit(sampler.init)(jax.random.key(0), pool)
  draw = jax.jit(sampler.sample)(jax.random.key(0), state, pool)
  loss = jnp.ones(50).at[jnp.array([3, 7])].set(jnp.array([jnp.inf, jnp.nan]))
  new = jax.jit(sampler.update)(
    state, draw, trust.Judgement(loss, jnp.ones(50), draw.index * 0)
  )
  assert new.ignored == 2 and new.seen.sum() == 48
  assert np.isfinite(new.memory).all()


def test_targets_are_refused():
  pool, _ = _noisy(0.0)
  pool = pool._replace(label=pool.label.astype(jnp.float32))
  with pytest.raises(ValueError, match="classes"):
    label_trust(batch_size=8, num_steps=10).init(jax.random.key(0), pool)
