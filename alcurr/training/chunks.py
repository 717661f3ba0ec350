"""Chunks: many steps of many trials in one compiled program.

The host is touched once per chunk, to read its metrics.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from alcurr.training import parallel
from alcurr.training.step import Metrics, Steps
from alcurr.types import Array, Pool, PyTree, TrainState


def make_train_chunk(
  steps: Steps, max_steps: int, trials_by: str
) -> Callable[[TrainState, Array, Pool, Pool], tuple[TrainState, Metrics]]:
  """Builds a program of many steps of S trials.

  Steps that measure and steps that do not are loops within loops, so that no
  step contains a branch.

  Args:
    steps: the parts of one trial.
    max_steps: T. A call may do fewer, so a run whose last chunk is short needs
      no second program. All chunks but a run's last must be whole cycles.
    trials_by: "vmap", all trials in each operation; or "map", one trial after
      the other, still in one program.

  Returns:
    A function (state [S], num_steps, pool, probe) -> (state, metrics [S, T]);
    the metrics past num_steps are zeros.
  """

  def chunk(state: TrainState, num_steps: Array, pool: Pool, probe: Pool):
    def cycle(number: Array, carry):
      first = number * steps.cycle
      prepared = steps.prepare(carry[0], pool, probe)

      def run(step: Callable, i: Array, carry):
        state, stacked = carry
        state, metrics = step(state, pool, probe, prepared)
        return state, jax.tree.map(
          lambda rows, row: rows.at[i].set(row), stacked, metrics
        )

      def measured_and_plain(first: Array, carry):
        """Runs `first`, which measures, and the steps up to the next signal."""
        carry = run(steps.measured, first, carry)
        if steps.interval == 1:
          return carry
        end = jnp.minimum(first + steps.interval, num_steps)
        plain = functools.partial(run, steps.plain)
        return jax.lax.fori_loop(first + 1, end, plain, carry)

      if steps.cycle == steps.interval:
        return measured_and_plain(first, carry)
      length = jnp.minimum(steps.cycle, num_steps - first)
      return jax.lax.fori_loop(
        0,
        -(-length // steps.interval),
        lambda i, carry: measured_and_plain(first + i * steps.interval, carry),
        carry,
      )

    prepared = jax.eval_shape(steps.prepare, state, pool, probe)
    _, shapes = jax.eval_shape(steps.measured, state, pool, probe, prepared)
    stacked = jax.tree.map(
      lambda x: jnp.zeros((max_steps, *x.shape), x.dtype), shapes
    )
    num_cycles = -(-num_steps // steps.cycle)
    return jax.lax.fori_loop(0, num_cycles, cycle, (state, stacked))

  return over_trials(chunk, trials_by)


def over_trials(fun: Callable, trials_by: str) -> Callable:
  """Maps `fun(state, ...)` over a state with a leading axis of trials [S].

  The other arguments are shared by the trials.
  """
  if trials_by not in ("vmap", "map"):
    raise ValueError(f"trials_by must be 'vmap' or 'map', got {trials_by!r}")

  def all_trials(state: PyTree, *shared: PyTree) -> PyTree:
    if trials_by == "vmap":
      return jax.vmap(lambda s: fun(s, *shared))(state)
    return jax.lax.map(lambda s: fun(s, *shared), state)

  return parallel.split_trials(all_trials)
