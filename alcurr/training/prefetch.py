"""Prefetches the next chunk's examples from the host while the device trains.

The draws of a sampler without a signal do not depend on the model. So they are
made before the steps that train on them, with the same functions and keys. A
thread copies their examples from the store to the device while the previous
chunk trains. A step that draws any other example violates an invariant.

With many devices, each gets only the examples of its own trials and of its own
slice of each batch. So a process reads only what its devices train on.
"""

import concurrent.futures
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from alcurr.data.host_store import Lookup
from alcurr.training import chunks, compilation, meshes, parallel
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
  shapes: Fetched  # of a chunk's examples on all devices
  on_one_device: Fetched  # the same, if there were only one
  # The sizes of the draws and batches that the devices of a trial divide
  sizes: tuple[int, ...]


def compile_prefetch(
  sampler: Sampler,
  lookup: Lookup | None,
  max_steps: int,
  trials_by: str,
  state: TrainState,
  pool: Pool,
  mesh: Mesh | None = None,
  batch_size: int | None = None,
) -> Prefetch | None:
  """Compiles a run's prefetching, for arrays or their shapes.

  With a mesh, its devices split batches of `batch_size`, and the candidates.

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
  inputs = (_without_model(state), np.int32(0), pool._replace(source=()), ())
  _, index = jax.eval_shape(draws, *inputs)
  num_trials, num_steps, size = index.shape
  # A step that does not score its candidates trains on the first of them.
  sizes = (size,) if batch_size in (None, size) else (size, batch_size)
  most = pool.label.shape[0]

  def room(num_slots: int, num_devices: int) -> Fetched:
    count = min(num_slots, most)
    room = Fetched(jax.ShapeDtypeStruct((count,), np.int32), lookup.room(count))
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(
        (num_devices * x.shape[0], *x.shape[1:]), x.dtype
      ),
      room,
    )

  alone = room(index.size, 1)
  if mesh is None:
    shapes = alone
  else:
    trial, data = (mesh.shape[axis] for axis in (meshes.TRIAL, meshes.DATA))
    slots = sum(size // _split(size, data) for size in sizes)
    slots *= num_trials // trial * num_steps
    shapes = room(slots, trial * data)
  program = compilation.compile_once(
    draws,
    *inputs,
    mesh=mesh,
    results=(parallel.BY_TRIAL, parallel.REPLICATED),
  )
  return Prefetch(program, lookup, shapes, alone, sizes)


def chunk_pools(
  prefetch: Prefetch | None,
  state: TrainState,
  lengths: Sequence[int],
  pool: Pool,
  mesh: Mesh | None = None,
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

  def find(index: np.ndarray, count: int) -> Fetched:
    """Returns examples, each once, with room for a number of them."""
    wanted = np.unique(index)
    # Padded with a number above all indices, so that it stays ascending.
    padded = np.full(count, np.iinfo(np.int32).max, np.int32)
    padded[: len(wanted)] = wanted
    return Fetched(padded, prefetch.lookup.find(row[wanted], count))

  def fetch(index: Array, length: int) -> Fetched:
    """Copies the examples of a chunk's draws [S, T, B] to the devices."""
    index = np.asarray(index)[:, :length]
    count = prefetch.shapes.index.shape[0]
    if mesh is None:
      return jax.device_put(find(index, count))
    trial, data = (mesh.shape[axis] for axis in (meshes.TRIAL, meshes.DATA))

    def find_part(number: int) -> Fetched:
      row, column = divmod(number, data)
      own = np.split(index, trial)[row]
      slots = []
      for size in prefetch.sizes:
        num = _split(size, data)
        parts = np.split(own[..., :size], num, -1)
        slots.append(parts[column % num])
      return find(np.concatenate(slots, -1), count // (trial * data))

    return _from_parts(find_part, prefetch.shapes, mesh)

  with concurrent.futures.ThreadPoolExecutor(1) as thread:
    pending: list[concurrent.futures.Future] = []
    for length in lengths:
      # Submitted before the chunk ahead of it: a device works in order.
      draw_state, index = prefetch.draws(draw_state, np.int32(length), *lean)
      pending.append(thread.submit(fetch, index, length))
      if len(pending) > 1:
        yield pool._replace(source=pending.pop(0).result())
    if pending:
      yield pool._replace(source=pending.pop().result())


def _without_model(state: TrainState) -> TrainState:
  """Returns what draws depend on."""
  return state._replace(params=(), model_state=(), opt_state=())


def _split(size: int, data: int) -> int:
  """Returns into how many parts `parallel.split_gather` splits a draw."""
  return 1 if size % data else data


def _from_parts(
  make_part: Callable[[int], Fetched], shapes: Fetched, mesh: Mesh
) -> Fetched:
  """Puts each part of some examples on its devices, without the others'.

  The parts are numbered along the mesh, trials first.
  """
  sharding = NamedSharding(mesh, parallel.BY_DEVICE)
  size, num = shapes.index.shape[0], mesh.shape[meshes.DATA]
  size //= mesh.shape[meshes.TRIAL] * num
  places = sharding.addressable_devices_indices_map(shapes.index.shape)
  numbers = {d: (at[0].start or 0) // size for d, at in places.items()}
  parts = {number: make_part(number) for number in {*numbers.values()}}

  def put(like: jax.ShapeDtypeStruct, *leaves: np.ndarray) -> Array:
    by_number = dict(zip(parts, leaves, strict=True))
    arrays = [jax.device_put(by_number[n], d) for d, n in numbers.items()]
    return jax.make_array_from_single_device_arrays(
      like.shape, sharding, arrays
    )

  return jax.tree.map(put, shapes, *parts.values())
