"""The program of a sampler's steps, for measurements other than its time."""

import argparse

import jax
import jax.numpy as jnp

from alcurr.training import chunks, compilation, step
from alcurr.types import TrainState
from benchmarks import arguments, loops
from benchmarks.step import SAMPLERS, Setting, get_sampler


def add_setting(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of a `Setting` other than the batch size."""
  add = parser.add_argument
  add("--model", default="mobilenet")
  add("--image_size", type=arguments.number, default=64)
  add("--num_examples", type=arguments.number, default=20_000)
  add("--sampler", choices=tuple(SAMPLERS), default="prediction_gain")


def compile_steps(
  setting: Setting, sampler: str, most: int
) -> tuple[jax.stages.Compiled, TrainState]:
  """Compiles the fused steps of one trial.

  Args:
    setting: see `benchmarks.step`.
    sampler: a name of SAMPLERS.
    most: the largest number of steps in a call.

  Returns:
    The program (state [1], num_steps, pool, probe) -> (state [1], metrics), to
    which the state is donated, and the first state.
  """
  chosen = get_sampler(sampler, setting.batch_size)
  init = step.make_init(setting.model, setting.tx, chosen)
  state = jax.vmap(init, (0, None))(loops.keys(1), setting.pool)
  steps = step.make_steps(setting.model, setting.tx, chosen, setting.gather)
  chunk = chunks.make_train_chunk(steps, most, "map")
  pool = setting.pool
  inputs = state, jnp.int32(0), pool, pool
  return compilation.compile_once(chunk, *inputs, donate=(0,)), state
