"""Training steps as contestants: chunks of them in one program, as in a run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from alcurr import programs, samplers, step
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
  chunk: Callable, state: Any, inputs: Sequence[Any], most: int, cycle: int = 1
) -> timing.Contestant:
  """Compiles a chunk (state, num_steps, *inputs); runs any number of steps.

  Args:
    chunk: of at most `most` steps; its state is donated.
    state: to begin with.
    inputs: its other arguments.
    most: steps of a call.
    cycle: whole cycles are run, and counted for as many steps as were asked.
  """
  program = programs.compile_once(
    chunk, state, jnp.int32(0), *inputs, donate=(0,)
  )

  def steps(num: int) -> None:
    nonlocal state
    result = None
    while num > 0:
      state, result = program(state, jnp.int32(min(num, most)), *inputs)
      num -= most
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
) -> timing.Contestant:
  """The fused step of `alcurr.step`, all trials in a program.

  The pool serves as the probe of the samplers' signals too.
  """
  init = step.make_init(model, tx, sampler)
  state = jax.vmap(init, (0, None))(keys(trials), pool)
  steps = step.make_steps(model, tx, sampler, gather)
  most = -(-chunk_steps // steps.cycle) * steps.cycle
  chunk = step.make_train_chunk(steps, most, trials_by)
  return repeat(chunk, state, (pool, pool), most, steps.cycle)
