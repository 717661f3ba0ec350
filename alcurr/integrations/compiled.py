"""The functions of a sampler as a stream calls them, each one program.

Compiled once for each sampler, whatever its streams.
"""

import functools

import jax

from alcurr.integrations import signals
from alcurr.training import step
from alcurr.types import Array, Draw, Pool, PyTree, Sampler


@functools.partial(jax.jit, static_argnums=0)
def sample(
  sampler: Sampler,
  key: Array,
  number: Array,
  state: PyTree,
  pool: Pool,
  ahead: Draw | None = None,
  num_ahead: Array | int = 0,
) -> Draw:
  """A draw from a state that has yet to go past the first few of `ahead`."""
  if ahead is not None:
    state = jax.lax.fori_loop(
      0,
      num_ahead,
      lambda i, state: sampler.update(
        state, jax.tree.map(lambda x: x[i], ahead), ()
      ),
      state,
    )
  key_draw = step.step_keys(key, number).draw
  return sampler.sample(key_draw, state, pool)


@functools.partial(jax.jit, static_argnums=0)
def measure(
  sampler: Sampler,
  key: Array,
  number: Array,
  draw: Draw,
  before: Array,
  after: Array,
  pool: Pool,
) -> PyTree:
  key_signal = step.step_keys(key, number).signal
  return signals.measure(sampler, key_signal, draw, before, after, pool)


@functools.partial(jax.jit, static_argnums=0)
def update(
  sampler: Sampler, state: PyTree, draw: Draw, feedback: PyTree
) -> PyTree:
  return sampler.update(state, draw, feedback)
