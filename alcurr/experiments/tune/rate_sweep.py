"""An optimiser whose learning rate is its trial's own.

The rate of each step is a row of a table that stands in the optimiser's state,
so that trials of many rates are one program; any schedule does.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from alcurr.training import optimizers
from alcurr.types import Array, PyTree, TrainState


class Swept(NamedTuple):
  rate: Array  # [T] float32, of each step
  inner: PyTree  # the optimiser's own state


def make_optimizer(
  config: Mapping[str, Any], num_steps: int
) -> optax.GradientTransformation:
  """The optimiser of a config, but for its rate; see `at_rates`.

  Args:
    config: see `optimizers.get_optimizer`.
    num_steps: T, of the run.
  """

  def at(rate: Array) -> optax.GradientTransformation:
    return optimizers.with_rate(config, lambda count: rate[count])

  def init(params: PyTree) -> Swept:
    rate = jnp.zeros(num_steps)
    return Swept(rate, at(rate).init(params))

  def update(
    grads: PyTree, state: Swept, params: PyTree | None = None
  ) -> tuple[PyTree, Swept]:
    updates, inner = at(state.rate).update(grads, state.inner, params)
    return updates, Swept(state.rate, inner)

  return optax.GradientTransformation(init, update)


def at_rates(
  config: Mapping[str, Any], state: TrainState, peaks: Sequence[float]
) -> TrainState:
  """A state [S] before its first step with the schedule of each trial's peak.

  Args:
    config: of the optimiser.
    state: of a run of `make_optimizer`.
    peaks: [S], the `learning_rate` of each trial.
  """
  num_steps = state.opt_state.rate.shape[1]
  count = jnp.arange(num_steps)
  rows = []
  for peak in peaks:
    schedule = optimizers.learning_rate(
      {**config, "learning_rate": peak}, num_steps
    )
    row = jax.vmap(schedule)(count)
    rows.append(jnp.asarray(row, jnp.float32))
  opt_state = state.opt_state._replace(rate=jnp.stack(rows))
  return state._replace(opt_state=opt_state)
