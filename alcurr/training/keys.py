"""The PRNG keys of a run and of its steps."""

import jax

from alcurr.types import Array, StepKeys


def run_keys(key: Array) -> Array:
  """Splits a run's key: initial parameters, initial sampler state, steps."""
  return jax.random.split(key, 3)


def step_keys(key: Array, step: Array | int) -> StepKeys:
  """Returns the keys of a step.

  Args:
    key: of the run's steps, see `run_keys`.
    step: its number, from 0.
  """
  keys = jax.random.split(jax.random.fold_in(key, step), len(StepKeys._fields))
  return StepKeys(*keys)
