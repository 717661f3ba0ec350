"""The loop of a run, and one program for runs that differ only in numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from hypothesis import given
from hypothesis import strategies as st

from alcurr.data.pool import make_gather
from alcurr.training import chunks, compilation, loop, step
from alcurr.training.keys import seed_key
from alcurr.training.run import (
  abstract_trials,
  chunk_lengths,
  compile_run,
  init_trials,
  score_pool,
)


@given(
  st.integers(1, 5000),
  st.integers(1, 50),
  st.integers(1, 300),
  st.sampled_from([1, 2, 8, 32]),
)
def test_chunks_add_up(num_steps, num_evals, chunk_steps, cycle):
  lengths, per_evaluation = chunk_lengths(
    num_steps, num_evals, chunk_steps, cycle
  )
  assert sum(lengths) == num_steps
  assert max(lengths) < chunk_steps + cycle
  assert all(length % cycle == 0 for length in lengths[:-1])
  assert len(set(lengths[:-1])) <= 1 and lengths[-1] <= lengths[0]
  done = -(-len(lengths) // per_evaluation)
  assert 1 <= done <= num_evals


def test_ten_evaluations_of_a_thousand_steps():
  assert chunk_lengths(1000, 10, 30) == ([25] * 40, 4)


@pytest.mark.parametrize(
  ("other", "count"),
  [
    ({"epsilon": "0.9", "warmup": 50, "bandit": "softmax(learning_rate=3)"}, 1),
    ({"gain": "gradient_prediction_gain"}, 2),
    pytest.param({"partition": "shuffled"}, 2, marks=pytest.mark.slow),
  ],
)
def test_samplers_that_differ_in_numbers_share_a_program(
  other, count, monkeypatch
):
  monkeypatch.setattr(compilation, "_compiled", {})
  pool, tx = toy.make_pool(), optax.sgd(0.1)
  config = {
    "name": "active_bandit",
    "bandit": "softmax",
    "gain": "prediction_gain",
    "reward": "rank",
  }
  for changes in ({}, other):
    sampler = toy.make_sampler(
      config | changes, "x", batch_size=8, num_steps=200
    )
    model = toy.make_linear()
    init = step.make_init(model, tx, sampler)
    state = jax.vmap(init, (0, None))(jax.random.key(0)[None], pool)
    steps = step.make_steps(model, tx, sampler, make_gather())
    chunk = chunks.make_train_chunk(steps, 5, "map")
    program = compilation.compile_once(
      chunk, state, jnp.int32(0), pool, pool, donate=(0,)
    )
    assert program(state, jnp.int32(5), pool, pool)[0].step.tolist() == [5]
  assert len(compilation._compiled) == count


BANDIT = {
  "name": "active_bandit",
  "bandit": "softmax",
  "gain": "prediction_gain",
  "reward": "rank",
  "warmup": 10,
}


def test_giving_chunks_ahead_changes_nothing():
  """Returns the rows and the state of a loop without pending chunks."""
  run = toy.make_run(BANDIT, num_steps=23, num_evals=3)
  pools = {
    "train": toy.make_pool(),
    "probe": toy.make_pool(60, seed=2),
    "valid": toy.make_pool(100, seed=1),
  }
  plan = compile_run(run, pools)
  rows, seen = [], []
  result = loop.train(
    run, plan, pools, rows.append, lambda examples, text: seen.append(examples)
  )
  state = init_trials(run, pools["train"])
  steps = step.make_steps(run.model, run.tx, run.sampler, run.gather)
  one = jax.jit(
    jax.vmap(lambda s: steps.measured(s, pools["train"], pools["probe"], ()))
  )
  losses, expected = [], []
  for number in range(1, 24):
    state, metrics = one(state)
    losses.append(np.asarray(metrics.loss))
    if number in np.cumsum(plan.chunks.lengths):
      expected.append((number, np.mean(losses, 0)))
      losses = []
  np.testing.assert_array_equal(
    [row["step"] for row in rows[::2]], [number for number, _ in expected]
  )
  for trial in range(2):
    np.testing.assert_allclose(
      [row["train_loss"] for row in rows[trial::2]],
      [loss[trial] for _, loss in expected],
      rtol=1e-5,
    )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    result.state.params,
    state.params,
  )
  scored = [row["step"] for row in rows[::2] if "valid" in row]
  assert len(scored) == 3 and scored[-1] == 23
  assert sum(seen) == 23 * 8 * 2
  last = score_pool(run, result.state, pools["valid"])
  assert rows[-1]["valid"]["top1"] == float((last.rank[1] < 1).mean())


def test_trials_begin_as_if_they_were_mapped():
  """The reference is the first state of one trial, under `jax.vmap`."""
  run = toy.make_run(BANDIT, seeds=(3, 0, 2**40))
  pool = toy.make_pool()
  init = step.make_init(run.model, run.tx, run.sampler)
  keys = jnp.stack([seed_key(seed) for seed in run.seeds])
  expected = jax.vmap(init, (0, None))(keys, pool)
  found = init_trials(run, pool)
  jax.tree.map(
    lambda a, b: np.testing.assert_array_equal(*map(_bits, (a, b))),
    found,
    expected,
  )
  shapes = abstract_trials(run, pool)
  assert jax.tree.structure(shapes) == jax.tree.structure(found)
  same = jax.tree.map(
    lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), shapes, found
  )
  assert all(jax.tree.leaves(same))


def _bits(x):
  is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
  return jax.random.key_data(x) if is_key else x
