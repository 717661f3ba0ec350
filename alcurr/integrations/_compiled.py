"""The functions of a sampler as streams call them.

Each is a program that is compiled once per sampler.
"""

import functools
from typing import Any, NoReturn

import jax

from alcurr.core.errors import UserError
from alcurr.training.step import selected_draw, step_keys
from alcurr.types import (
  Array,
  Candidates,
  Draw,
  Pool,
  PyTree,
  Sampler,
  Selection,
  StepInfo,
)


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
  """Draws from a state, updated without feedback for the draws `ahead`.

  These are stacked, [delay, ...], and only the first `num_ahead` count.
  """
  if ahead is not None:
    state = jax.lax.fori_loop(
      0,
      num_ahead,
      lambda i, state: sampler.update(
        state, jax.tree.map(lambda x: x[i], ahead), ()
      ),
      state,
    )
  return sampler.sample(step_keys(key, number).draw, state, pool)


@functools.partial(jax.jit, static_argnums=0)
def select(sampler, key, number, state, draw, score) -> Selection:
  """Selects from the candidates of a draw, see `Sampler.select`."""
  return sampler.select(step_keys(key, number).select, state, draw, score)


@functools.partial(jax.jit, static_argnums=0)
def update(sampler, state, draw, feedback) -> PyTree:
  """Returns the sampler's state after a draw, see `Sampler.update`."""
  return sampler.update(state, draw, feedback)


@functools.partial(jax.jit, static_argnums=0)
def measure(
  sampler: Sampler,
  key: Array,
  number: Array,
  draw: Draw,
  candidates: Candidates | None,
  before: Array,
  after: Array,
  pool: Pool,
) -> PyTree:
  """Returns the sampler's signal for losses before and after training, [B].

  Raises UserError if the signal needs more than these. The draw is the
  sampler's, of B examples or of M candidates.
  """

  def loss_fn(params: PyTree, batch: Any) -> Array:
    if batch is not _BATCH:
      _OTHER_LOSSES.refuse()
    return after if params is _NEW_PARAMS else before

  info = StepInfo(
    draw=selected_draw(candidates) if candidates else draw,
    candidates=candidates,
    batch=_BATCH,
    logits=_NotMeasured("the logits"),
    loss=before,
    params=_NotMeasured("the parameters"),
    new_params=_NEW_PARAMS,
    grads=_NotMeasured("the gradients"),
    updates=_NotMeasured("the update of the parameters"),
    pool=pool,
    probe=_NotMeasured("held-out examples"),
    loss_fn=loss_fn,
    gather=_OTHER_LOSSES,
    loss_jvp=_NotMeasured("derivatives of the losses"),
    predict=_NotMeasured("predictions for held-out examples"),
    prepared=_NotMeasured("derivatives of the losses"),
  )
  return sampler.signal.measure(step_keys(key, number).signal, info)


class _NotMeasured:
  """A placeholder for what only the model knows; any use raises UserError."""

  def __init__(self, name: str):
    self._name = name

  def refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
    raise UserError(
      "unsupported",
      "update",
      f"the sampler learns from {self._name}, not from losses alone; measure "
      "its signal in the loop and call update(feedback=...), or make the "
      "sampler with gain=gains.prediction_gain()",
    )

  __getattr__ = __getitem__ = __call__ = __iter__ = __len__ = refuse
  __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = refuse
  __array__ = refuse


_NEW_PARAMS = _NotMeasured("the parameters")
_BATCH = _NotMeasured("the images")
_OTHER_LOSSES = _NotMeasured("losses of examples outside of the batch")
