"""The PRNG keys of a run and of its steps."""

import operator

import jax
import numpy as np

from alcurr.types import Array, StepKeys

_WORD = 2**32


def seed_key(seed: int) -> Array:
  """Returns the key of any integer, each with a key of its own.

  For seeds in [0, 2**32) that is `jax.random.key`, which ignores all higher
  bits unless 64-bit types are enabled.
  """
  rest, word = divmod(operator.index(seed), _WORD)
  key = jax.random.key(np.uint32(word))
  rest = 2 * rest if rest >= 0 else -2 * rest - 1  # negative seeds are odd
  while rest:
    rest, word = divmod(rest, _WORD)
    key = jax.random.fold_in(key, np.uint32(word))
  return key


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
