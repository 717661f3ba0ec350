"""Prefetching from host memory: which examples, and when.

`tests/data/host_store_test.py` tests that runs with and without it are equal.
"""

import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import toy_samplers
from sampler_table import SAMPLERS

from alcurr.data.host_store import make_fetch, make_lookup
from alcurr.data.pool import make_gather
from alcurr.training import chunks, prefetch
from alcurr.training.run import (
  RunSpec,
  compile_chunks,
  init_trials,
  make_steps,
)
from alcurr.types import Images, Stored

# The store has them in reverse order.
POOL = toy.make_pool(640)
LOOKUP = make_lookup(Images(np.asarray(POOL.source.image)[::-1].copy()))
HOST_POOL = POOL._replace(source=Stored(jnp.arange(640)[::-1]))
OPEN = ("uniform", "uniform_replacement", "curriculum", "fixed_policy")
LENGTHS = [5, 5, 3]


def _run(sampler: str, **changes) -> RunSpec:
  changes = {"num_evals": 1, "chunk_steps": 5} | changes  # for LENGTHS
  run = toy.make_run(SAMPLERS[sampler], 16, sum(LENGTHS), **changes)
  gather = make_gather(fetch=make_fetch(LOOKUP))
  return run._replace(gather=gather, lookup=LOOKUP)


def _planned(run: RunSpec):
  state = init_trials(run, HOST_POOL)
  return state, prefetch.compile_prefetch(
    run.sampler, run.lookup, max(LENGTHS), run.trials_by, state, HOST_POOL
  )


def _draws(run: RunSpec, state) -> list[np.ndarray]:
  """Returns what the fused steps of each chunk draw: [S, T, B] each."""
  steps = make_steps(run._replace(gather=make_gather()))
  one = jax.jit(jax.vmap(lambda s: steps.measured(s, POOL, POOL, ())))
  chunks = []
  for length in LENGTHS:
    index = []
    for _ in range(length):
      state, metrics = one(state)
      index.append(np.asarray(metrics.index))
    chunks.append(np.stack(index, 1))
  return chunks


@pytest.mark.parametrize(
  ("sampler", "trials_by"),
  [
    ("uniform", "vmap"),
    ("curriculum", "map"),
    *(
      pytest.param(sampler, "map", marks=pytest.mark.slow)
      for sampler in OPEN
      if sampler != "curriculum"
    ),
  ],
)
def test_a_chunk_finds_what_it_draws_and_nothing_else(sampler, trials_by):
  run = _run(sampler, trials_by=trials_by)
  state, planned = _planned(run)
  pools = list(prefetch.chunk_pools(planned, state, LENGTHS, HOST_POOL))
  for pool, drawn in zip(pools, _draws(run, state), strict=True):
    index, images = pool.source
    wanted = np.unique(drawn)
    np.testing.assert_array_equal(index[: len(wanted)], wanted)
    assert (index[len(wanted) :] >= 640).all()
    np.testing.assert_array_equal(
      images.image[: len(wanted)], POOL.source.image[wanted]
    )
    # All chunks are of one program, whatever is in them.
    assert index.shape == planned.shapes.index.shape
    assert images.image.shape == planned.shapes.source.image.shape


def test_what_learns_from_the_model_is_not_fetched_ahead():
  for sampler in ("bandit", "influence", "class_reweighting"):
    _, planned = _planned(_run(sampler))
    assert planned is None


def test_a_pool_on_the_device_is_not_fetched():
  _, planned = _planned(_run("uniform")._replace(lookup=None))
  assert planned is None


def test_the_next_chunk_is_fetched_before_it_is_asked_for():
  """At most three chunks are on the device at once."""
  state, planned = _planned(_run("uniform"))
  found = threading.Semaphore(0)
  calls = []

  def find(row, count):
    calls.append(count)
    found.release()
    return planned.lookup.find(row, count)

  lookup = planned.lookup._replace(find=find)
  pools = prefetch.chunk_pools(
    planned._replace(lookup=lookup), state, [4] * 6, HOST_POOL
  )
  for number in range(5):
    next(pools)
    for _ in range(2 if number == 0 else 1):
      assert found.acquire(timeout=60)
    assert len(calls) == number + 2
  next(pools)
  assert next(pools, None) is None
  assert not found.acquire(blocking=False)
  assert prefetch.CHUNKS == 3


def test_a_store_that_fails_stops_the_run():
  state, planned = _planned(_run("uniform"))

  def find(row, count):
    raise OSError("the disk is gone")

  lookup = planned.lookup._replace(find=find)
  pools = prefetch.chunk_pools(
    planned._replace(lookup=lookup), state, LENGTHS, HOST_POOL
  )
  with pytest.raises(OSError, match="the disk is gone"):
    next(pools)


def test_a_run_that_goes_on_fetches_from_where_it_was():
  run = _run("uniform")
  first = init_trials(run, HOST_POOL)
  pools = {"train": POOL, "probe": POOL}
  plain = run._replace(gather=make_gather())
  steps = make_steps(plain)
  chunk = jax.jit(chunks.make_train_chunk(steps, 5, "map"))
  state, _ = chunk(first, jnp.int32(5), POOL, POOL)
  compiled = compile_chunks(plain, state, pools)
  assert compiled.prefetch is None  # of pools on the device
  compiled = compile_chunks(plain, state, {**pools, "train": HOST_POOL})
  pools_of = functools.partial(prefetch.chunk_pools, compiled.prefetch)
  whole = list(pools_of(first, LENGTHS, HOST_POOL))
  rest = list(pools_of(state, LENGTHS[1:], HOST_POOL))
  assert (len(whole), len(rest)) == (3, 2)
  for own, other in zip(rest, whole[1:], strict=True):
    jax.tree.map(np.testing.assert_array_equal, own.source, other.source)


def test_candidates_are_prefetched_too():
  """A run from host memory trains on what a run on the device does."""
  sampler = toy_samplers.largest_loss(batch_size=16, num_candidates=32)
  run = _run("uniform")._replace(sampler=sampler)
  state = init_trials(run, HOST_POOL)
  host = {"train": HOST_POOL, "probe": POOL}
  compiled = compile_chunks(run, state, host)
  assert compiled.prefetch is not None
  pools = prefetch.chunk_pools(compiled.prefetch, state, LENGTHS, HOST_POOL)
  for length in LENGTHS:
    pool = next(pools)
    state, metrics = compiled.program(state, jnp.int32(length), pool, POOL)
    assert (metrics.violation == 0).all()
  on_device = run._replace(gather=make_gather(), lookup=None)
  device = {"train": POOL, "probe": POOL}
  expected = init_trials(on_device, POOL)
  compiled = compile_chunks(on_device, expected, device)
  for length in LENGTHS:
    expected, _ = compiled.program(expected, jnp.int32(length), POOL, POOL)
  for a, b in zip(
    jax.tree.leaves(state.params),
    jax.tree.leaves(expected.params),
    strict=True,
  ):
    np.testing.assert_array_equal(a, b)
