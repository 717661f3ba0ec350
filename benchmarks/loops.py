"""Makes contestants of training steps: chunks in one program, as in a run."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp
import optax

from alcurr import samplers
from alcurr.core import specs
from alcurr.data import parallel
from alcurr.data.host_store import Lookup
from alcurr.training import chunks, compilation, prefetch, step
from alcurr.types import Batch, Model, Pool, Sampler
from benchmarks import timing


def make_sampler(
  config: Mapping[str, Any], batch_size: int, num_steps: int
) -> Sampler:
  """Builds the sampler of a config."""
  return specs.make(
    config,
    samplers.SAMPLERS,
    "sampler",
    batch_size=batch_size,
    num_steps=num_steps,
  )


def keys(trials: int) -> jax.Array:
  """Returns a key for each trial: [S]."""
  return jax.vmap(jax.random.key)(jnp.arange(trials))


def make_all(
  makers: Mapping[str, Callable[[], timing.Contestant]],
) -> dict[str, timing.Contestant]:
  """Makes contestants in parallel, since most of the time is compilation."""
  with futures.ThreadPoolExecutor(parallel.cores()) as threads:
    made = threads.map(lambda make: make(), makers.values())
    return dict(zip(makers, made, strict=True))


def repeat(
  chunk: Callable,
  state: Any,
  inputs: Sequence[Any],
  most: int,
  cycle: int = 1,
  inputs_of: Callable[[Any, Sequence[int]], Iterable[Sequence[Any]]]
  | None = None,
) -> timing.Contestant:
  """Compiles a chunk and returns a contestant of any number of steps.

  Args:
    chunk: a function (state, num_steps, *inputs) of at most `most` steps; its
      state is donated.
    state: the initial state.
    inputs: the other arguments, or their shapes if `inputs_of` makes them.
    most: the largest number of steps in a call.
    cycle: steps are rounded up to whole cycles, and the time is scaled down.
    inputs_of: (state, lengths of the chunks) -> the other arguments of each
      chunk; None if they do not change.
  """
  program = compilation.compile_once(
    chunk, state, jnp.int32(0), *inputs, donate=(0,)
  )

  def steps(num: int) -> None:
    nonlocal state
    result = None
    lengths = [min(num - done, most) for done in range(0, num, most)]
    chunk_inputs = (
      inputs_of(state, lengths) if inputs_of else itertools.repeat(inputs)
    )
    for length, others in zip(lengths, chunk_inputs, strict=False):
      state, result = program(state, jnp.int32(length), *others)
    jax.block_until_ready((state, result))

  def contestant(num: int) -> float:
    whole = -(-num // cycle) * cycle
    return timing.timed(steps, whole) * num / whole

  return contestant


def fused(
  model: Model,
  tx: optax.GradientTransformation,
  sampler: Sampler,
  gather: Callable[[Pool, jax.Array], Batch],
  pool: Pool,
  *,
  chunk_steps: int,
  trials: int = 1,
  trials_by: str = "map",
  lookup: Lookup | None = None,
) -> timing.Contestant:
  """Returns the fused step of `alcurr.training.step`, with all trials.

  The pool is also the probe of the samplers' signals. With the `lookup` of a
  pool on the host, examples are prefetched where the sampler allows it. Those
  of the first chunk count in the time of each turn.
  """
  init = step.make_init(model, tx, sampler)
  state = jax.vmap(init, (0, None))(keys(trials), pool)
  steps = step.make_steps(model, tx, sampler, gather)
  most = -(-chunk_steps // steps.cycle) * steps.cycle
  chunk = chunks.make_train_chunk(steps, most, trials_by)
  ahead = prefetch.compile_prefetch(
    sampler, lookup, most, trials_by, state, pool
  )
  if not ahead:
    return repeat(chunk, state, (pool, pool), most, steps.cycle)
  return repeat(
    chunk,
    state,
    (pool._replace(source=ahead.shapes), pool),
    most,
    inputs_of=lambda state, lengths: (
      (fetched, pool)
      for fetched in prefetch.chunk_pools(ahead, state, lengths, pool)
    ),
  )
