"""Selective backprop against NumPy oracles of Composer's and the paper's rule.

`composer_selects` is written from the formula of Composer's documentation.
"""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from alcurr.samplers import selective_backprop

POOL = toy.make_pool()
KEYS = jax.random.split(jax.random.key(0), 20_000)


def composer_selects(loss, keep, rng):
  """Returns slots by percentile, one draw."""
  count = len(loss)
  percentile = (np.arange(count) + 0.5) / count
  prob = percentile ** (1 / keep - 1)
  chosen = rng.choice(
    count, int(keep * count), replace=False, p=prob / prob.sum()
  )
  return np.argsort(loss)[chosen]


@pytest.mark.parametrize(
  "keep", [0.5, pytest.param(0.25, marks=pytest.mark.slow)]
)
def test_percentiles_are_kept_as_often_as_by_numpy(keep):
  sampler = selective_backprop(
    batch_size=4, keep=keep, start=0, end=1, interrupt=0
  )
  count = sampler.spec.num_candidates
  rng = np.random.default_rng(0)
  loss = rng.normal(size=count).astype(np.float32)
  state = sampler.init(jax.random.key(0), POOL)
  slots = jax.jit(
    jax.vmap(lambda key: sampler.select(key, state, None, loss).slots)
  )(KEYS)
  share = np.bincount(np.asarray(slots).ravel(), minlength=count) / len(KEYS)
  draws = [composer_selects(loss, keep, rng) for _ in range(len(KEYS))]
  expected = np.bincount(np.ravel(draws), minlength=count) / len(KEYS)
  np.testing.assert_allclose(share, expected, atol=0.02)
  assert all(len(set(row)) == 4 for row in slots[:100].tolist())


def test_losses_that_are_not_finite_are_not_kept():
  loss = jnp.float32([np.nan, 1.0, 2.0, np.inf])
  for variant in ("percentile", "history"):
    sampler = selective_backprop(
      batch_size=2, variant=variant, start=0, end=1, interrupt=0
    )
    state = sampler.init(jax.random.key(0), POOL)
    slots = sampler.select(jax.random.key(1), state, None, loss).slots
    assert set(slots.tolist()) == {1, 2}, variant


def _scores(sampler, num_steps):
  """Returns which steps score, and how many examples were used by then."""
  state = sampler.init(jax.random.key(0), POOL)
  is_scoring, update = jax.jit(sampler.is_scoring), jax.jit(sampler.update)
  scores, used = [], []
  for _ in range(num_steps):
    scores.append(bool(is_scoring(state)))
    state = update(state, None, ())
    used.append(int(640 * state.passes.epoch[0] + state.passes.position[0]))
  return np.array(scores), np.diff([0, *used])


@pytest.mark.parametrize("interrupt", [0, 2, 3])
def test_the_schedule_is_composers(interrupt):
  """A drawn batch that is not scored is trained on in M / B = 2 steps."""
  sampler = selective_backprop(batch_size=4, interrupt=interrupt, num_steps=100)
  scores, used = _scores(sampler, 100)
  expected, batch = [False] * 50, 0
  while len(expected) < 90:
    is_step = interrupt == 0 or (batch + 1) % interrupt != 0
    expected += [True] if is_step else [False, False]
    batch += 1
  expected = expected[:90] + [False] * 10
  np.testing.assert_array_equal(scores, expected)
  np.testing.assert_array_equal(used, np.where(scores, 8, 4))
  assert sampler.spec.scoring_share == pytest.approx(np.mean(expected))


def test_numpy_keeps_the_same_history():
  """And the probabilities of the paper's code, by a queue of the last ten."""
  size, keep = 10, 0.5
  sampler = selective_backprop(
    batch_size=3,
    variant="history",
    keep=keep,
    start=0,
    end=1,
    interrupt=0,
    history_size=size,
    min_prob=0.05,
  )
  assert sampler.is_scoring is None
  state = sampler.init(jax.random.key(0), POOL)
  rng, known = np.random.default_rng(0), collections.deque(maxlen=size)
  for t in range(8):
    loss = rng.integers(0, 6, 6).astype(np.float32)
    loss[t % 6] = np.nan if t % 3 == 1 else loss[t % 6]
    known.extend(loss[np.isfinite(loss)])
    below = np.array([np.mean(np.array(known) < x) for x in loss])
    prob = np.maximum(below ** (1 / keep - 1), 0.05)
    key = jax.random.key(t)
    noise = np.asarray(jax.random.uniform(key, (6,), jnp.float32))
    ratio = np.where(np.isfinite(loss), noise / prob, np.inf)
    slots = sampler.select(key, state, None, jnp.asarray(loss)).slots
    assert set(slots.tolist()) == set(np.argsort(ratio)[:3])
    state = sampler.update(state, None, jnp.asarray(loss))
    count = min(int(state.history.count), size)
    stored = np.sort(np.asarray(state.history.loss)[:count])
    np.testing.assert_array_equal(stored, np.sort(known))


def test_the_history_keeps_in_proportion_to_the_papers_chance():
  """The share kept of 32 candidates, against p_i over the sum times B."""
  sampler = selective_backprop(
    batch_size=16, variant="history", start=0, end=1, interrupt=0
  )
  state = sampler.init(jax.random.key(0), POOL)
  loss = jnp.arange(32, dtype=jnp.float32)
  slots = jax.jit(
    jax.vmap(lambda key: sampler.select(key, state, None, loss).slots)
  )(KEYS)
  share = np.bincount(np.asarray(slots).ravel(), minlength=32) / len(KEYS)
  prob = np.arange(32) / 32
  # Of chances near 1, fixed sizes cut off the most.
  np.testing.assert_allclose(share, 16 * prob / prob.sum(), atol=0.06)
  assert (np.diff(share) > -0.02).all()


def test_a_step_that_does_not_score_adds_nothing_to_the_history():
  sampler = selective_backprop(
    batch_size=4, variant="history", start=0.5, num_steps=10
  )
  state = sampler.init(jax.random.key(0), POOL)
  state = sampler.update(state, None, jnp.zeros(8))
  assert int(state.history.count) == 0 and int(state.step) == 1


def test_arguments():
  for wrong, name in (
    ({"start": 0.9, "end": 0.5}, "start"),
    ({"interrupt": 1}, "interrupt"),
    ({"variant": "other"}, "variant"),
    ({"variant": "history", "history_size": 4}, "history_size"),
  ):
    with pytest.raises(ValueError, match=name):
      selective_backprop(batch_size=4, num_steps=10, **wrong)
  with pytest.raises(ValueError, match="num_steps"):
    selective_backprop(batch_size=4)
