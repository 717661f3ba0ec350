"""Pools, samplers and made-up feedback that the tests of streams share."""

import contextlib
import functools
import json

import jax
import numpy as np
import optax
import pytest
import toy

from alcurr.core.errors import UserError
from alcurr.data.pool import make_gather
from alcurr.integrations import IndexStream, pool_info
from alcurr.training import chunks, step
from alcurr.types import Feedback, Pool, Sampler


@contextlib.contextmanager
def refused(code: str, place: str):
  """Expects a UserError with this code and place."""
  with pytest.raises(UserError) as error:
    yield
  assert (error.value.code, error.value.place) == (code, place)


BATCH_SIZE = 8
POOL = toy.make_pool()
BANDIT = {
  "name": "active_bandit",
  "bandit": "softmax(learning_rate=1.0)",
  "gain": "prediction_gain",
  "reward": "rank(window=50)",
  "epsilon": "linear(value=1.0, end=0.1)",
  "warmup": 3,
  "arms_per_batch": 1,
}


def make_sampler(spec, batch_size=BATCH_SIZE) -> Sampler:
  """Returns the same sampler for equal specs, which is compiled once."""
  return _make_sampler(json.dumps(spec), batch_size)


@functools.cache
def _make_sampler(spec, batch_size=BATCH_SIZE) -> Sampler:
  return toy.make_sampler(
    json.loads(spec), "x", batch_size=batch_size, num_steps=40
  )


def make_stream(spec, seed=5, delay=0) -> IndexStream:
  sampler = make_sampler(spec)
  info = pool_info(
    sampler, np.asarray(POOL.label), POOL.scores["difficulty"], 5
  )
  return IndexStream(sampler, info, seed, delay)


def losses_of(index) -> tuple[np.ndarray, np.ndarray]:
  """Returns losses before and after; some examples have larger gains."""
  before = np.float32(1) + np.asarray(index, np.float32) / 1000
  after = before - np.sin(np.asarray(index, np.float32))
  return before, after.astype(np.float32)


def pure(spec, num_draws: int, seed=5, delay=0) -> list[np.ndarray]:
  """Returns the indices that the sampler's own functions draw.

  Draw n is made from a state that has the feedback of the draws before
  n - delay, and has gone past the others without.
  """
  return list(_pure(json.dumps(spec), num_draws, seed, delay))


@functools.cache
def _pure(spec, num_draws, seed, delay):
  sampler = _make_sampler(spec)
  _, key_sampler, key_run = jax.random.split(jax.random.key(seed), 3)
  start = sampler.init(key_sampler, POOL)
  sample, update = jax.jit(sampler.sample), jax.jit(sampler.update)
  draws = []
  for n in range(num_draws):
    state = start
    for i, draw in enumerate(draws):
      before, after = losses_of(draw.index)
      signal = sampler.signal
      known = signal and i < n - delay and i % signal.interval == 0
      feedback = Feedback(before - after, draw.arm) if known else ()
      state = update(state, draw, feedback)
    key_draw = jax.random.split(jax.random.fold_in(key_run, n), 6)[0]
    draws.append(sample(key_draw, state, POOL))
  return [np.asarray(draw.index) for draw in draws]


def trained(spec, num_steps: int) -> np.ndarray:
  """Returns the indices that a training run draws: [T, B]."""
  return train_indices(make_sampler(spec), num_steps)


def train_indices(
  sampler: Sampler, num_steps: int, seed=5, pool: Pool = POOL
) -> np.ndarray:
  """Returns the indices that a sampler's training run trains on: [T, B]."""
  model, tx = toy.make_linear(), optax.sgd(0.1)
  steps = step.make_steps(model, tx, sampler, make_gather())
  chunk = chunks.make_train_chunk(steps, num_steps, "map")
  keys = jax.random.key(seed)[None]
  states = jax.vmap(step.make_init(model, tx, sampler), (0, None))(keys, pool)
  _, metrics = jax.jit(chunk)(states, num_steps, pool, pool)
  return np.asarray(metrics.index[0])
