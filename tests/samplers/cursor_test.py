"""Cursors: every example once a pass, in an order that changes."""

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.samplers import cursor


def test_each_pass_visits_every_example_once():
  size = np.array([7, 12])
  state = cursor.start(jax.random.key(0), jnp.asarray(size))
  seen = [[], []]
  group = jnp.array([0, 1, 1, 0])
  ahead = jnp.array([0, 0, 1, 1])
  step = jax.jit(
    lambda s: (
      cursor.look_ahead(s, group, ahead),
      cursor.advance(s, jnp.array([2, 2])),
    )
  )
  for _ in range(42):
    place, state = step(state)
    for g, p in zip(group.tolist(), place.tolist(), strict=True):
      seen[g].append(p)
  for g, n in enumerate(size):
    passes = np.array(seen[g]).reshape(-1, n)
    assert (np.sort(passes, axis=1) == np.arange(n)).all()
    # No two of the passes are alike.
    assert len(np.unique(passes, axis=0)) == len(passes)
  assert state.epoch.tolist() == [12, 7]
  assert state.position.tolist() == [0, 0]


def test_positions_near_the_int32_limit_wrap_right():
  n = 2**31 - 1
  state = cursor.start(jax.random.key(0), jnp.array([n]))
  state = state._replace(position=jnp.array([n - 2]))
  later = cursor.advance(state, jnp.array([5]))
  assert (later.epoch.tolist(), later.position.tolist()) == ([1], [3])
