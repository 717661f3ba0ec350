"""The smallest losses against a sort, and the schedule of the share kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from alcurr.samplers import small_loss

B, STEPS = 8, 20
POOL = toy.make_pool()


def test_numpy_selects_the_same():
  """Among the first B / R(t), which grow in the first half of the run."""
  sampler = small_loss(batch_size=B, keep=0.4, warmup=0.5, num_steps=STEPS)
  state = sampler.init(jax.random.key(0), POOL)
  rng, key = np.random.default_rng(0), jax.random.key(1)
  expected_start, drawn = 0, []
  order = []
  for t in range(STEPS):
    share = 1 - 0.6 * min(t / 10, 1)
    considered = round(B / share)
    draw = sampler.sample(key, state, POOL)
    drawn.append(np.asarray(draw.index)[:considered])
    loss = rng.random(20).astype(np.float32)
    slots, weight = sampler.select(key, state, draw, jnp.asarray(loss))
    smallest = np.argsort(loss[:considered])[:B]
    assert set(slots.tolist()) == set(smallest)
    np.testing.assert_array_equal(weight, np.ones(B))
    state = sampler.update(state, draw, ())
    expected_start += considered
    order.append(int(state.passes.position[0]))
    assert order[-1] == expected_start % 640
  # What was not considered came back: nothing is skipped.
  seen = np.concatenate(drawn)
  assert len(set(seen)) == len(seen)


def test_losses_that_are_not_finite_come_last():
  sampler = small_loss(batch_size=2, keep=0.5, warmup=0)
  state = sampler.init(jax.random.key(0), POOL)
  loss = jnp.float32([np.nan, 5.0, -np.inf, 4.0])
  draw = sampler.sample(jax.random.key(1), state, POOL)
  slots, _ = sampler.select(jax.random.key(1), state, draw, loss)
  assert set(slots.tolist()) == {1, 3}


def test_a_warmup_needs_the_length_of_the_run():
  with pytest.raises(ValueError, match="num_steps"):
    small_loss(batch_size=B)
  assert small_loss(batch_size=B, warmup=0).spec.num_candidates == 11
