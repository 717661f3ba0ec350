"""Competence against the paper's formula, and curricula by a user's score."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from alcurr import samplers

N, B, STEPS = 600, 16, 100
LENGTH = np.random.default_rng(3).integers(1, 40, N).astype(np.float32)
POOL = toy.make_pool(N)
POOL = POOL._replace(scores=POOL.scores | {"length": jnp.asarray(LENGTH)})


def _draws(sampler, num, key=0):
  """Returns `num` draws, [num, B] each, and the last state."""

  def step(state, key):
    draw = sampler.sample(key, state, POOL)
    return sampler.update(state, draw, ()), draw

  state = jax.jit(sampler.init)(jax.random.key(key), POOL)
  keys = jax.random.split(jax.random.key(1), num)
  state, draws = jax.jit(lambda s: jax.lax.scan(step, s, keys))(state)
  return jax.device_get(draws), state


def _competence(t, start, duration, root):
  """The paper's linear and square-root competence, each as it is printed."""
  if root == 1:
    return min(1, t * (1 - start) / duration + start)
  return min(1, np.sqrt(t * (1 - start**2) / duration + start**2))


@pytest.mark.parametrize("root", [1, 2])
@pytest.mark.parametrize(("start", "full_at"), [(0.01, 0.5), (0.2, 1.0)])
def test_draws_are_uniform_in_the_easiest_part(root, start, full_at):
  sampler = samplers.competence(
    batch_size=B, num_steps=STEPS, start=start, full_at=full_at, root=root
  )
  draws, _ = _draws(sampler, STEPS)
  rank = np.argsort(np.argsort(POOL.scores["difficulty"]))[draws.index]
  place = []
  for t in range(STEPS):
    part = N * _competence(t, start, full_at * STEPS, root)
    size = round(1 / draws.prob[t, 0])
    assert part - 1e-3 <= size < part + 1 + 1e-3
    assert (draws.prob[t] == draws.prob[t, 0]).all() and rank[t].max() < size
    place.append((rank[t] + 0.5) / size)
  assert 1 / draws.prob[-1, 0] == pytest.approx(N, rel=0.02)
  # The places within the part are uniform: a mean of 1/2, a variance of 1/12.
  place = np.stack(place)
  assert place.mean() == pytest.approx(0.5, abs=0.03)
  assert place.var() == pytest.approx(1 / 12, rel=0.1)


def test_the_whole_pool_is_drawn_after_its_duration():
  sampler = samplers.competence(batch_size=B, num_steps=10)
  draws, _ = _draws(sampler, 400)
  np.testing.assert_allclose(draws.prob[5:], np.float32(1 / N))
  assert len(np.unique(draws.index[5:])) == N


@pytest.mark.parametrize(
  "num_examples", [1, 7, 2**24 + 3, 2**31 - 1], ids=lambda n: f"N={n}"
)
def test_the_size_of_the_part_at_any_pool_size(num_examples):
  """It grows from the first step to all, and is never more."""
  sampler = samplers.competence(batch_size=4, num_steps=100, start=1e-10)
  pool = jax.eval_shape(lambda: jnp.zeros(num_examples, jnp.int32))
  order = jnp.arange(8, dtype=jnp.int32)
  state = jax.tree.map(jnp.asarray, _draws(sampler, 1)[1])
  sizes = []
  for t in (0, 1, 20, 49, 50, 99):
    draw = sampler.sample(
      jax.random.key(0),
      state._replace(step=jnp.int32(t), order=order),
      POOL._replace(label=pool),
    )
    sizes.append(1 / float(draw.prob[0]))
  assert sizes == sorted(sizes) and sizes[0] == 1
  np.testing.assert_allclose(sizes[-2:], num_examples, rtol=1e-6)


@pytest.mark.parametrize("descending", [False, True])
def test_a_curriculum_follows_a_users_score(descending):
  sampler = samplers.curriculum(
    batch_size=B, score="length", descending=descending
  )
  index = _draws(sampler, 2 * N // B)[0].index.ravel()
  length = np.sort(LENGTH)[::-1] if descending else np.sort(LENGTH)
  np.testing.assert_array_equal(LENGTH[index[:N]], length)
  np.testing.assert_array_equal(np.sort(index[:N]), np.arange(N))
  # Equal lengths come in a random order, of the seed's.
  other = _draws(sampler, N // B, key=1)[0].index.ravel()
  np.testing.assert_array_equal(LENGTH[other], LENGTH[index[: len(other)]])
  assert (other != index[: len(other)]).any()


def test_buckets_of_a_users_score():
  sampler = samplers.bucketed_curriculum(
    batch_size=B, num_steps=75, score="length"
  )
  index = _draws(sampler, 75)[0].index
  order = np.sort(LENGTH)
  for period in range(3):
    part = index[25 * period : 25 * (period + 1)].ravel()
    # Two of its passes over the bucket are not finished in 400 draws.
    assert LENGTH[part].max() <= order[N * (period + 1) // 3 - 1]
    assert len(np.unique(part)) == min(400, N * (period + 1) // 3)


@pytest.mark.parametrize("name", ["competence", "curriculum"])
def test_a_score_that_the_pool_lacks(name):
  spec = {"name": name, "score": "rarity"}
  sampler = toy.make_sampler(spec, "x", batch_size=B, num_steps=STEPS)
  with pytest.raises(ValueError, match=r"'difficulty', 'length'.*'rarity'"):
    sampler.init(jax.random.key(0), POOL)


@pytest.mark.parametrize(
  "changes", [{"start": 0}, {"full_at": 1.1}, {"root": 0.5}, {"num_steps": 0}]
)
def test_impossible_numbers_are_refused(changes):
  with pytest.raises(ValueError, match=next(iter(changes))):
    samplers.competence(**{"batch_size": B, "num_steps": 9} | changes)
