"""Training steps as contestants: chunks of them in one program, as in a run."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from alcurr import samplers
from alcurr.data.host_store import Lookup
from alcurr.training import chunks, compilation, prefetch, step
from alcurr.types import Batch, Model, Pool, Sampler
from benchmarks import timing


def make_sampler(
  config: Mapping[str, Any], batch_size: int, num_steps: int
) -> Sampler:
  """The sampler of a config; None among its arguments is the batch size."""
  given = {k: batch_size if v is None else v for k, v in config.items()}
  return samplers.get_sampler(
    given, "sampler", batch_size=batch_size, num_steps=num_steps
  )


def keys(trials: int) -> jax.Array:
  return jax.vmap(jax.random.key)(jnp.arange(trials))


def repeat(
  chunk: Callable,
  state: Any,
  inputs: Sequence[Any],
  most: int,
  cycle: int = 1,
  inputs_of: Callable[[Any, Sequence[int]], Iterable[Sequence[Any]]]
  | None = None,
) -> timing.Contestant:
  """Compiles a chunk (state, num_steps, *inputs); runs any number of steps.

  Args:
    chunk: of at most `most` steps; its state is donated.
    state: to begin with.
    inputs: its other arguments, or their shapes where `inputs_of` has them.
    most: steps of a call.
    cycle: whole cycles are run, and counted for as many steps as were asked.
    inputs_of: (state, lengths of the chunks) -> the other arguments of each;
      None where they are the same.
  """
  program = compilation.compile_once(
    chunk, state, jnp.int32(0), *inputs, donate=(0,)
  )

  def steps(num: int) -> None:
    nonlocal state
    result = None
    lengths = [min(num - done, most) for done in range(0, num, most)]
    every = inputs_of(state, lengths) if inputs_of else itertools.repeat(inputs)
    for length, given in zip(lengths, every, strict=False):
      state, result = program(state, jnp.int32(length), *given)
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
  """The fused step of `alcurr.training.step`, all trials in a program.

  The pool serves as the probe of the samplers' signals too. With the lookup of
  a pool on the host what its steps draw is fetched ahead, if it can be; what
  the first chunk draws, in the time of each turn.
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
      (each, pool)
      for each in prefetch.prefetched_pools(ahead, state, lengths, pool)
    ),
  )
