"""Passes over parts of the pool, and the samplers that choose the parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from remembering import POOL, RATE, START, N

from alcurr import samplers
from alcurr.samplers import _subset_passes
from alcurr.testing import _toys

SAMPLERS = {
  "infobatch": lambda: samplers.infobatch(batch_size=7, num_steps=60),
  "self_paced": lambda: samplers.self_paced(
    batch_size=7, num_steps=60, weights="log"
  ),
  "dihcl": lambda: samplers.dihcl(batch_size=7, learning_rate=0.1),
  "ies": lambda: samplers.ies(batch_size=7, threshold=0.02),
}


def test_a_pass_is_over_the_parts_in_their_order():
  passes = _subset_passes.start(jax.random.key(0), 10)
  passes, over = _subset_passes.advance(passes, 4)
  assert not over
  parts = np.arange(10) % 3 == 1, np.arange(10) % 3 == 0
  begin = jax.jit(_subset_passes.begin_parts)
  passes, sizes = begin(passes, *parts)
  assert [int(size) for size in sizes] == [3, 4]
  assert passes.order.tolist() == [1, 4, 7, 0, 3, 6, 9, 2, 5, 8]
  places = _subset_passes.draw_places(passes, 7)
  assert sorted(places.tolist()) == list(range(7))
  passes, over = _subset_passes.advance(passes, 7)
  assert over
  passes, _ = begin(passes, np.zeros(10, bool))
  assert passes.cursor.size.tolist() == [10]


def test_a_batch_may_be_longer_than_the_pass():
  passes = _subset_passes.start(jax.random.key(0), 10)
  passes, _ = _subset_passes.begin_parts(passes, np.arange(10) == 6)
  places = _subset_passes.draw_places(passes, 5)
  assert passes.order[places].tolist() == [6] * 5
  assert _subset_passes.advance(passes, 5)[1]


def test_passes_are_shuffled_each_in_its_own_order():
  passes = _subset_passes.start(jax.random.key(0), 10)
  orders, draw = [], jax.jit(_subset_passes.draw_places, static_argnums=1)
  for _ in range(20):
    places = draw(passes, 20).tolist()
    orders += [tuple(places[:10]), tuple(places[10:])]
    passes, _ = _subset_passes.advance(passes, 15)
    passes = _subset_passes.begin(passes, passes.order, jnp.int32(10))
  assert len(set(orders)) == 40


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_many_passes_by_vmap_in_parts_and_without_a_nan(name):
  """States are the same, bit by bit, as of one run after the other."""
  sampler = SAMPLERS[name]()

  def step(state, step):
    draw = sampler.sample(jax.random.key(step), state, POOL)
    fall = jnp.exp(-jnp.float32(RATE)[draw.index] * step)
    loss = jnp.float32(START)[draw.index] * fall
    return sampler.update(state, draw, loss), draw

  def run(state, first, num):
    return jax.lax.scan(step, state, jnp.arange(first, first + num))

  with jax.debug_nans(True):
    keys = _toys.seed_keys(0, 1)
    start = jax.vmap(sampler.init, (0, None))(keys, POOL)
    run = jax.jit(run, static_argnums=(1, 2))
    one = jax.tree.map(lambda x: x[1], start)
    whole, draws = run(one, 0, 60)
    half, _ = run(one, 0, 30)
    rest, _ = run(half, 30, 30)
    both, _ = jax.jit(jax.vmap(lambda state: run(state, 0, 60)))(start)
  _toys.assert_equal(rest, whole)
  _toys.assert_equal(
    jax.tree.map(lambda x: x[1], both), whole, rtol=1e-6, atol=1e-7
  )
  assert len(np.unique(draws.index[:9])) == N
  assert whole.passes.cursor.epoch[0] >= 6
