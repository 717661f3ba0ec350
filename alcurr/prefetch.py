"""What the next chunk of steps draws, brought from the host ahead of it.

The draws of a sampler that learns nothing (`types.learn_nothing`) follow from
its own state, whatever the model does. So they are made before the steps that
train on them, on the device, by the sampler's own functions and the steps' own
keys; a thread takes their examples out of the store and puts them on the device
while the chunk before is trained. A step then finds them there, and one that
drew anything else would break a law of `laws`.
"""

import concurrent.futures
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alcurr import programs, step
from alcurr.data.fetch import Lookup
from alcurr.types import (
  Array,
  Fetched,
  Pool,
  PyTree,
  Sampler,
  Stored,
  TrainState,
  learn_nothing,
)

# Chunks whose examples are on the device at once, at most: those of the chunk
# in flight, of the next, and of the one after it on their way.
CHUNKS = 3


class Place(NamedTuple):
  """Where a run's draws are: of its state what they depend on."""

  step: Array  # [] int32
  key: Array
  sampler_state: PyTree


class Prefetch(NamedTuple):
  """How the examples of a run are brought ahead."""

  # (place [S], num_steps, pool) -> (place after them, index [S, T, B])
  draws: jax.stages.Compiled
  lookup: Lookup
  shapes: Fetched  # of what is on the device for a chunk


def make_draws(
  sampler: Sampler, most_steps: int, trials_by: str
) -> Callable[[Place, Array, Pool], tuple[Place, Array]]:
  """The draws of many steps of S trials, without the steps.

  Args:
    sampler: whose signal is `learn_nothing`.
    most_steps: T, of which a call may do fewer.
    trials_by: as of `step.make_train_chunk`.

  Returns:
    A function (place [S], num_steps, pool) -> (place, index [S, T, B] int32);
    the indices past num_steps are zeros.
  """

  def draws(place: Place, num_steps: Array, pool: Pool) -> tuple[Place, Array]:
    def draw(place: Place) -> tuple[Place, Array]:
      key, *_ = step.step_keys(place.key, place.step)
      draw = sampler.sample(key, place.sampler_state, pool)
      state = sampler.update(place.sampler_state, draw, ())
      return Place(place.step + 1, place.key, state), draw.index

    def one(i: Array, carry: tuple[Place, Array]) -> tuple[Place, Array]:
      place, index = draw(carry[0])
      return place, carry[1].at[i].set(index)

    _, index = jax.eval_shape(draw, place)
    every = jnp.zeros((most_steps, *index.shape), index.dtype)
    return jax.lax.fori_loop(0, num_steps, one, (place, every))

  return step.over_trials(draws, trials_by)


def plan(
  sampler: Sampler,
  lookup: Lookup | None,
  most_steps: int,
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
    most_steps: of a chunk.
    trials_by: of the run.
    state: of all trials, or its shapes.
    pool: to draw from, or its shapes.
  """
  known = sampler.signal is learn_nothing
  if lookup is None or not known or not isinstance(pool.source, Stored):
    return None
  draws = make_draws(sampler, most_steps, trials_by)
  given = (_place(state), jnp.int32(0), pool._replace(source=()))
  _, index = jax.eval_shape(draws, *given)
  most = min(index.size, pool.label.shape[0])
  shapes = Fetched(jax.ShapeDtypeStruct((most,), np.int32), lookup.room(most))
  return Prefetch(programs.compile_once(draws, *given), lookup, shapes)


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


def _place(state: TrainState) -> Place:
  return Place(state.step, state.key, state.sampler_state)
