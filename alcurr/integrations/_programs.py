"""A sampler's functions, each compiled once for all streams."""

import functools
import types
from typing import NoReturn

import jax

from alcurr.core.errors import UserError
from alcurr.training import invariants
from alcurr.training.batches import selected_draw
from alcurr.training.keys import step_keys
from alcurr.types import Array, Batch, Draw, Feedback, PyTree, Selection


class _Known(types.SimpleNamespace):
  """The part of a StepInfo that is known; any other use raises UserError."""

  def __getattr__(self, name: str) -> NoReturn:
    text = f"the sampler's signal reads {name}, but only losses are known; "
    text += "measure it in the loop and call update(feedback=...), or make "
    text += "the sampler with gain=gains.prediction_gain()"
    raise UserError("unsupported", "update", text)


@functools.partial(jax.jit, static_argnums=0)
def sample(
  sampler, key, number, state, pool, ahead, num_ahead
) -> tuple[Draw, Array]:
  """Draws after the first `num_ahead` draws of `ahead`, without feedback.

  The second result is the bits of the invariants that the draw violates.
  """

  def skip(i: Array, state: PyTree) -> PyTree:
    return sampler.update(state, jax.tree.map(lambda x: x[i], ahead), ())

  if ahead is not None:
    state = jax.lax.fori_loop(0, num_ahead, skip, state)
  draw = sampler.sample(step_keys(key, number).draw, state, pool)
  label = pool.label[draw.index] if draw.label is None else draw.label
  batch = Batch((), label)
  return draw, invariants.check_draw(sampler, state, pool, draw, batch)


@functools.partial(jax.jit, static_argnums=0)
def select(sampler, key, number, state, draw, score) -> Selection:
  return sampler.select(step_keys(key, number).select, state, draw, score)


@functools.partial(jax.jit, static_argnums=0)
def update(sampler, state, draw, feedback) -> PyTree:
  return sampler.update(state, draw, feedback)


@functools.partial(jax.jit, static_argnums=0)
def measure(sampler, key, number, draw, candidates, before, after, pool):
  """Returns the signal for losses [B]; the draw may be of M candidates."""
  new_params, batch = _Known(), _Known()

  def loss_fn(of: PyTree, examples: PyTree) -> Array:
    if examples is not batch:
      return _Known().losses_of_other_examples  # raises
    return after if of is new_params else before

  info = _Known(
    draw=selected_draw(draw, candidates.selection) if candidates else draw,
    candidates=candidates,
    batch=batch,
    loss=before,
    params=_Known(),
    new_params=new_params,
    pool=pool,
    loss_fn=loss_fn,
  )
  signal = sampler.signal.measure(step_keys(key, number).signal, info)
  if not isinstance(signal, Feedback | jax.Array):
    text = f"expected a Feedback or an array, got {type(signal).__name__}"
    raise UserError("unsupported", "signal", text)
  return signal
