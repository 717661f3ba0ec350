"""Turns what another loop measured of a batch into a sampler's feedback."""

import functools
import math
import types
from typing import Any, NoReturn

import jax
import numpy as np
from numpy.typing import ArrayLike

from alcurr.core.errors import UserError
from alcurr.integrations._queue import DrawQueue, PendingDraw
from alcurr.training.batch_draw import selected_draw
from alcurr.training.keys import step_keys
from alcurr.types import (
  Array,
  Candidates,
  Draw,
  Feedback,
  Pool,
  PyTree,
  Sampler,
)


def is_measured(sampler: Sampler, number: int) -> bool:
  """Returns whether a sampler learns from the draw of that number."""
  signal = sampler.signal
  return signal is not None and number % signal.interval == 0


def read_update(
  queue: DrawQueue, pending: PendingDraw, given: dict[str, Any]
) -> PyTree:
  """Returns a draw's feedback from the arguments of `update`; () if unused."""
  given = {name: x for name, x in given.items() if x is not None}
  if len(given) > 1:
    text = "expected one of losses, gains and feedback"
    raise UserError("conflict", "update", text)
  number, draw = pending.number, pending.draw
  if not is_measured(queue.sampler, number):
    return ()
  if not given:
    text = f"the sampler learns from draw {number}; expected losses=(before, "
    text += "after), gains, or feedback, which may be ()"
    raise UserError("missing", "update", text)
  ((name, values),) = given.items()
  if name == "feedback":
    return _read_feedback(values, draw)
  if name == "gains":  # any losses with these differences do
    values = values, np.zeros(queue.batch_size)
  if not isinstance(values, tuple | list) or len(values) != 2:
    raise UserError("type", "losses", "expected a pair, (before, after)")
  shape = (queue.batch_size,)
  before, after = (_read_floats(x, shape, name) for x in values)
  sampler, key, candidates = queue.sampler, queue.key, pending.candidates
  number = np.int32(number)
  return _measure(
    sampler, key, number, draw, candidates, before, after, queue.pool
  )


class _Known(types.SimpleNamespace):
  """The part of a StepInfo that is known; any other use raises UserError."""

  def __getattr__(self, name: str) -> NoReturn:
    text = f"the sampler's signal reads {name}, but only losses are known; "
    text += "measure it in the loop and call update(feedback=...), or make "
    text += "the sampler with gain=gains.prediction_gain()"
    raise UserError("unsupported", "update", text)


@functools.partial(jax.jit, static_argnums=0)
def _measure(
  sampler: Sampler,
  key: Array,
  number: Array,
  draw: Draw,
  candidates: Candidates | None,
  before: Array,
  after: Array,
  pool: Pool,
) -> PyTree:
  """Returns the signal for losses [B]; the draw may be of M candidates."""
  params, new_params, batch = _Known(), _Known(), _Known()

  def loss_fn(of: PyTree, examples: PyTree) -> Array:
    if examples is not batch:
      return _Known().losses_of_other_examples  # raises
    return after if of is new_params else before

  info = _Known(
    draw=selected_draw(candidates) if candidates else draw,
    candidates=candidates,
    batch=batch,
    loss=before,
    params=params,
    new_params=new_params,
    pool=pool,
    loss_fn=loss_fn,
  )
  signal = sampler.signal.measure(step_keys(key, number).signal, info)
  if not isinstance(signal, Feedback | jax.Array):
    text = f"expected a Feedback or an array, got {type(signal).__name__}"
    raise UserError("unsupported", "signal", text)
  return signal


def _read_floats(
  values: ArrayLike, shape: tuple[int, ...] | None, name: str
) -> np.ndarray:
  """Returns finite numbers as float32, of that shape if one is given."""
  values = np.asarray(values, np.float32)
  if shape is not None and values.shape != shape:
    text = f"expected a number for each of {list(shape)}, got shape "
    raise UserError("type", name, text + str(list(values.shape)))
  if not np.isfinite(values).all():
    text = "expected finite numbers; give feedback=() for a batch without any"
    raise UserError("range", name, text)
  return values


def _read_feedback(feedback: Any, draw: Draw) -> PyTree:
  """Returns (), a Feedback or an array of finite numbers."""
  if isinstance(feedback, tuple) and not feedback:
    return ()
  if not isinstance(feedback, Feedback):
    return _read_floats(feedback, None, "feedback")
  arm = np.asarray(feedback.arm, np.int32)
  gain = _read_floats(feedback.gain, arm.shape, "feedback")
  num_arms = math.inf if draw.policy is None else draw.policy.shape[0]
  if arm.size and not 0 <= arm.min() <= arm.max() < num_arms:
    text = f"expected [0, {num_arms}), got {arm.min()} to {arm.max()}"
    raise UserError("range", "feedback.arm", text)
  return Feedback(gain, arm)
