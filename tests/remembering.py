"""Runs of samplers that remember losses, with losses that follow a formula."""

import jax
import jax.numpy as jnp
import numpy as np
import toy

N = 60
POOL = toy.make_pool(N)
# They fall, faster for some examples than for others, and some of them rise.
RATE = np.random.default_rng(0).uniform(-0.02, 0.1, N)
START = np.random.default_rng(1).exponential(size=N)


def loss_at(index, step):
  """Returns the losses of examples if they are visited at a step."""
  return np.float32(START[index] * np.exp(-RATE[index] * step))


def run(sampler, steps, measured=loss_at, bad=(), state=None, first=0):
  """Returns (draw, state after it) of each step; `bad` have no finite loss."""
  sample, update = jax.jit(sampler.sample), jax.jit(sampler.update)
  if state is None:
    state = sampler.init(jax.random.key(0), POOL)
  out = []
  for step in range(first, first + steps):
    draw = jax.device_get(sample(jax.random.key(step), state, POOL))
    value = measured(draw.index, step)
    value = np.where(np.isin(draw.index, bad), np.nan, value)
    state = update(state, draw, jnp.float32(value))
    out.append((draw, jax.device_get(state)))
  return out


def split_passes(out):
  """Yields the first step of each pass, and the draws in it."""
  start, draws = 0, []
  for step, (draw, state) in enumerate(out):
    draws.append(draw)
    if state.passes.cursor.position[0] == 0:
      yield start, draws
      start, draws = step + 1, []


def check_a_pass(draws, expected, batch_size):
  """Asserts that each expected example comes once, and a few a second time."""
  index = np.concatenate([draw.index for draw in draws])
  assert sorted(index[: len(expected)]) == sorted(expected)
  assert len(index) - len(expected) < batch_size
  assert np.isin(index, expected).all()
