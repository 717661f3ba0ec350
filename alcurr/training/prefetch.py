"""Prefetches the next chunk's examples from the host while the device trains.

The draws of a sampler without a signal do not depend on the model. So they are
made before the steps that train on them, with the same functions and keys. A
thread copies their examples from the store to the device while the previous
chunk trains. A step that draws any other example violates an invariant.
"""

import concurrent.futures
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.data.host_store import Lookup
from alcurr.training import chunks, compilation
from alcurr.training.keys import step_keys
from alcurr.training.step import Steps
from alcurr.types import Array, Fetched, Pool, Sampler, Stored, TrainState

# Chunks whose examples are on the device at once, at most: the chunk being
# trained, the next one, and the one being copied.
CHUNKS = 3


class Prefetch(NamedTuple):
  """The programs and shapes that a run's prefetching needs."""

  # (state [S] without a model, num_steps, pool without a source, ())
  #   -> (state, index [S, T, B or M] int32, zeros past num_steps)
  draws: jax.stages.Compiled
  lookup: Lookup
  shapes: Fetched  # of a chunk's examples on the device


def compile_prefetch(
  sampler: Sampler,
  lookup: Lookup | None,
  max_steps: int,
  trials_by: str,
  state: TrainState,
  pool: Pool,
) -> Prefetch | None:
  """Compiles a run's prefetching, for arrays or their shapes.

  Returns None if examples are on the device, or if the sampler has a signal.
  """
  if lookup is None or sampler.signal or not isinstance(pool.source, Stored):
    return None

  def draw(state: TrainState, pool: Pool, *unused):
    key = step_keys(state.key, state.step).draw
    drawn = sampler.sample(key, state.sampler_state, pool)
    sampler_state = sampler.update(state.sampler_state, drawn, ())
    state = state._replace(step=state.step + 1, sampler_state=sampler_state)
    return state, drawn.index

  # Steps that draw, but do not train.
  steps = Steps(lambda *inputs: (), draw, draw, interval=1, cycle=1)
  draws = chunks.make_train_chunk(steps, max_steps, trials_by)
  inputs = (_without_model(state), jnp.int32(0), pool._replace(source=()), ())
  _, index = jax.eval_shape(draws, *inputs)
  count = min(index.size, pool.label.shape[0])
  shapes = Fetched(jax.ShapeDtypeStruct((count,), np.int32), lookup.room(count))
  return Prefetch(compilation.compile_once(draws, *inputs), lookup, shapes)


def chunk_pools(
  prefetch: Prefetch | None,
  state: TrainState,
  lengths: Sequence[int],
  pool: Pool,
) -> Iterator[Pool]:
  """Yields the pool of each chunk, with the examples that the chunk draws.

  The first chunk starts from `state` [S], which may be donated once its pool
  is taken. Without `prefetch`, each pool is the same.
  """
  if not prefetch:
    yield from [pool] * len(lengths)
    return
  row = np.asarray(pool.source.row)
  lean = (pool._replace(source=()), ())
  # A copy: the state is donated to the first chunk.
  draw_state = jax.tree.map(jnp.copy, _without_model(state))

  def find(index: Array, length: int) -> Fetched:
    """Copies the examples of a chunk's draws [S, T, B] to the device."""
    wanted = np.unique(np.asarray(index)[:, :length])
    count = prefetch.shapes.index.shape[0]
    # Padded with a number above all indices, so that it stays ascending.
    padded = np.full(count, np.iinfo(np.int32).max, np.int32)
    padded[: len(wanted)] = wanted
    examples = prefetch.lookup.find(row[wanted], count)
    return jax.device_put(Fetched(padded, examples))

  with concurrent.futures.ThreadPoolExecutor(1) as thread:
    pending: list[concurrent.futures.Future] = []
    for length in lengths:
      # Submitted before the chunk ahead of it: a device works in order.
      draw_state, index = prefetch.draws(draw_state, jnp.int32(length), *lean)
      pending.append(thread.submit(find, index, length))
      if len(pending) > 1:
        yield pool._replace(source=pending.pop(0).result())
    if pending:
      yield pool._replace(source=pending.pop().result())


def _without_model(state: TrainState) -> TrainState:
  """Returns what draws depend on."""
  return state._replace(params=(), model_state=(), opt_state=())
