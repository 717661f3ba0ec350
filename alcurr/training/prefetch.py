"""Prefetches the next chunk's examples from the host while the device trains.

The draws of a sampler without a signal follow from its own state, whatever the
model does. They are made before the steps that train on them, on the device,
by the sampler's own functions and the steps' own keys. A thread copies their
examples from the store to the device while the previous chunk trains. A step
that drew anything else would violate an invariant.
"""

import concurrent.futures
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.data.host_store import Lookup
from alcurr.training import chunks, compilation, step
from alcurr.types import (
  Array,
  Fetched,
  Pool,
  PyTree,
  Sampler,
  Stored,
  TrainState,
)

# Chunks whose examples are on the device at once, at most: the chunk being
# trained, the next one, and the one being copied.
CHUNKS = 3


class DrawState(NamedTuple):
  """The part of a run's state that its draws depend on."""

  step: Array  # [] int32
  key: Array  # [] PRNG key, of the run's steps
  sampler_state: PyTree


class Prefetch(NamedTuple):
  """The programs and shapes that a run's prefetching needs."""

  # (state [S], num_steps, pool) -> (state after them, index [S, T, B])
  draws: jax.stages.Compiled
  lookup: Lookup
  shapes: Fetched  # of a chunk's examples on the device


def make_draws(
  sampler: Sampler, max_steps: int, trials_by: str
) -> Callable[[DrawState, Array, Pool], tuple[DrawState, Array]]:
  """Returns a function that makes many steps' draws without training.

  Args:
    sampler: without a signal.
    max_steps: T; a call may do fewer.
    trials_by: "vmap" or "map", see `chunks.over_trials`.

  Returns:
    A function (state [S], num_steps, pool) -> (state, index [S, T, B] int32);
    the indices past num_steps are zeros. With candidates, B is M.
  """

  def draw(state: DrawState, pool: Pool) -> tuple[DrawState, Array]:
    key = step.step_keys(state.key, state.step).draw
    drawn = sampler.sample(key, state.sampler_state, pool)
    sampler_state = sampler.update(state.sampler_state, drawn, ())
    return DrawState(state.step + 1, state.key, sampler_state), drawn.index

  def draws(
    state: DrawState, num_steps: Array, pool: Pool
  ) -> tuple[DrawState, Array]:
    def body(i: Array, carry: tuple[DrawState, Array]):
      state, index = draw(carry[0], pool)
      return state, carry[1].at[i].set(index)

    _, index = jax.eval_shape(draw, state, pool)
    stacked = jnp.zeros((max_steps, *index.shape), index.dtype)
    return jax.lax.fori_loop(0, num_steps, body, (state, stacked))

  return chunks.over_trials(draws, trials_by)


def compile_prefetch(
  sampler: Sampler,
  lookup: Lookup | None,
  max_steps: int,
  trials_by: str,
  state: TrainState,
  pool: Pool,
) -> Prefetch | None:
  """Compiles a run's prefetching.

  Args:
    sampler: of the run.
    lookup: finds the pool's examples in host memory; None if they are on the
      device.
    max_steps: of a chunk.
    trials_by: of the run.
    state: of all trials, or its shapes.
    pool: to draw from, or its shapes.

  Returns:
    None if the examples are on the device, or if the draws depend on what the
    model has learned.
  """
  closed_loop = sampler.signal is not None
  if lookup is None or closed_loop or not isinstance(pool.source, Stored):
    return None
  draws = make_draws(sampler, max_steps, trials_by)
  inputs = (_draw_state(state), jnp.int32(0), pool._replace(source=()))
  _, index = jax.eval_shape(draws, *inputs)
  count = min(index.size, pool.label.shape[0])
  shapes = Fetched(jax.ShapeDtypeStruct((count,), np.int32), lookup.room(count))
  return Prefetch(compilation.compile_once(draws, *inputs), lookup, shapes)


def prefetched_pools(
  prefetch: Prefetch,
  state: TrainState,
  lengths: Sequence[int],
  pool: Pool,
) -> Iterator[Pool]:
  """Yields the pool of each chunk, with the examples that the chunk draws.

  Args:
    prefetch: of the run.
    state: [S], from which the first chunk starts; it may be donated after the
      first pool is taken.
    lengths: of the chunks, in steps.
    pool: with the rows of its examples in the store.
  """
  row = np.asarray(pool.source.row)
  lean = pool._replace(source=())
  # A copy: the state is donated to the first chunk.
  draw_state = jax.tree.map(jnp.copy, _draw_state(state))
  find = functools.partial(_find, prefetch, row)
  with concurrent.futures.ThreadPoolExecutor(1) as thread:
    pending: list[concurrent.futures.Future] = []
    for length in lengths:
      # Submitted before the chunk ahead of it: a device works in order.
      draw_state, index = prefetch.draws(draw_state, jnp.int32(length), lean)
      pending.append(thread.submit(find, index, length))
      if len(pending) > 1:
        yield pool._replace(source=pending.pop(0).result())
    if pending:
      yield pool._replace(source=pending.pop().result())


def _find(
  prefetch: Prefetch, row: np.ndarray, index: Array, length: int
) -> Fetched:
  """Copies the examples of a chunk's draws [S, T, B] to the device."""
  wanted = np.unique(np.asarray(index)[:, :length])
  count = prefetch.shapes.index.shape[0]
  # Padded with a number above every index, so that it stays ascending.
  padded = np.full(count, np.iinfo(np.int32).max, np.int32)
  padded[: len(wanted)] = wanted
  examples = prefetch.lookup.find(row[wanted], count)
  return jax.device_put(Fetched(padded, examples))


def _draw_state(state: TrainState) -> DrawState:
  return DrawState(state.step, state.key, state.sampler_state)
