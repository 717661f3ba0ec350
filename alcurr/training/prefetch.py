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
  key: Array
  sampler_state: PyTree


class Prefetch(NamedTuple):
  """How the examples of a run are prefetched."""

  # (place [S], num_steps, pool) -> (place after them, index [S, T, B])
  draws: jax.stages.Compiled
  lookup: Lookup
  shapes: Fetched  # of what is on the device for a chunk


def make_draws(
  sampler: Sampler, max_steps: int, trials_by: str
) -> Callable[[DrawState, Array, Pool], tuple[DrawState, Array]]:
  """The draws of many steps of S trials, without the steps.

  Args:
    sampler: without a signal.
    max_steps: T, of which a call may do fewer.
    trials_by: as of `chunks.make_train_chunk`.

  Returns:
    A function (place [S], num_steps, pool) -> (place, index [S, T, B] int32);
    the indices past num_steps are zeros.
  """

  def draws(
    place: DrawState, num_steps: Array, pool: Pool
  ) -> tuple[DrawState, Array]:
    def draw(place: DrawState) -> tuple[DrawState, Array]:
      key = step.step_keys(place.key, place.step).draw
      draw = sampler.sample(key, place.sampler_state, pool)
      state = sampler.update(place.sampler_state, draw, ())
      return DrawState(place.step + 1, place.key, state), draw.index

    def one(
      i: Array, carry: tuple[DrawState, Array]
    ) -> tuple[DrawState, Array]:
      place, index = draw(carry[0])
      return place, carry[1].at[i].set(index)

    _, index = jax.eval_shape(draw, place)
    every = jnp.zeros((max_steps, *index.shape), index.dtype)
    return jax.lax.fori_loop(0, num_steps, one, (place, every))

  return chunks.over_trials(draws, trials_by)


def plan(
  sampler: Sampler,
  lookup: Lookup | None,
  max_steps: int,
  trials_by: str,
  state: TrainState,
  pool: Pool,
) -> Prefetch | None:
  """Compiles what brings a run's examples ahead; None where nothing can.

  That is where they are on the device already, or where what is drawn depends
  on what the model has learned.

  Args:
    sampler: of the run.
    lookup: of the pool's examples, on the host; None where they are not there.
    max_steps: of a chunk.
    trials_by: of the run.
    state: of all trials, or its shapes.
    pool: to draw from, or its shapes.
  """
  open_loop = sampler.signal is None
  if lookup is None or not open_loop or not isinstance(pool.source, Stored):
    return None
  draws = make_draws(sampler, max_steps, trials_by)
  given = (_place(state), jnp.int32(0), pool._replace(source=()))
  _, index = jax.eval_shape(draws, *given)
  most = min(index.size, pool.label.shape[0])
  shapes = Fetched(jax.ShapeDtypeStruct((most,), np.int32), lookup.room(most))
  return Prefetch(compilation.compile_once(draws, *given), lookup, shapes)


def pools(
  prefetch: Prefetch,
  state: TrainState,
  lengths: Sequence[int],
  pool: Pool,
) -> Iterator[Pool]:
  """The pool of each chunk, with the examples that the chunk draws.

  Args:
    prefetch: of the run.
    state: [S], of which the first chunk begins; it may be given away after the
      first pool is taken.
    lengths: of the chunks, in steps.
    pool: with the rows of its examples in the store.
  """
  row = np.asarray(pool.source.row)
  lean = pool._replace(source=())
  # Of its own memory: the state is given to the first chunk.
  place = jax.tree.map(jnp.copy, _place(state))
  find = functools.partial(_find, prefetch, row)
  with concurrent.futures.ThreadPoolExecutor(1) as thread:
    ahead: list[concurrent.futures.Future] = []
    for length in lengths:
      # Before the chunk ahead of it is asked for: a device does things in the
      # order in which they were.
      place, index = prefetch.draws(place, jnp.int32(length), lean)
      ahead.append(thread.submit(find, index, length))
      if len(ahead) > 1:
        yield pool._replace(source=ahead.pop(0).result())
    if ahead:
      yield pool._replace(source=ahead.pop().result())


def _find(
  prefetch: Prefetch, row: np.ndarray, index: Array, length: int
) -> Fetched:
  """The examples of a chunk's draws [S, T, B], on the device."""
  wanted = np.unique(np.asarray(index)[:, :length])
  most = prefetch.shapes.index.shape[0]
  # Above every index, so that the order holds.
  places = np.full(most, np.iinfo(np.int32).max, np.int32)
  places[: len(wanted)] = wanted
  found = prefetch.lookup.find(row[wanted], most)
  return jax.device_put(Fetched(places, found))


def _place(state: TrainState) -> DrawState:
  return DrawState(state.step, state.key, state.sampler_state)
