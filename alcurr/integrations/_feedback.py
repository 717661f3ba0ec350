"""Reads the feedback for a batch that another loop trained on."""

import functools
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from alcurr.core.errors import UserError
from alcurr.integrations import _compiled as compiled
from alcurr.integrations._queue import PendingDraw
from alcurr.types import (
  Array,
  Candidates,
  Draw,
  Feedback,
  Pool,
  PyTree,
  Sampler,
  Selection,
)


class FeedbackReader:
  """Checks a loop's measurements and turns them into a sampler's feedback."""

  def __init__(
    self, sampler: Sampler, key: Array, draw: Draw, batch_size: int, pool: Pool
  ):
    """Determines whether losses are enough for the sampler's signal.

    The draw is the sampler's; like the pool, it may consist of shapes.

    Raises:
      UserError: no loop could measure the signal.
    """
    self._sampler, self._pool = sampler, pool
    self._batch_size = batch_size
    self._refusal: UserError | None = None
    if sampler.signal is None:
      return
    loss = jax.ShapeDtypeStruct((batch_size,), np.float32)
    candidates = None
    if sampler.spec.num_candidates is not None:
      score = jax.ShapeDtypeStruct(draw.index.shape, np.float32)
      slots = jax.ShapeDtypeStruct((batch_size,), np.int32)
      candidates = Candidates(draw, score, Selection(slots, loss))
    measure = functools.partial(compiled.measure, sampler)
    try:
      signal = jax.eval_shape(
        measure, key, np.int32(0), draw, candidates, loss, loss, pool
      )
    except UserError as refusal:
      self._refusal = refusal
      return
    if not isinstance(signal, Feedback | jax.ShapeDtypeStruct):
      raise UserError(
        "unsupported",
        "IndexStream",
        "expected a sampler whose signal is a Feedback or an array, got "
        f"{type(signal).__name__}",
      )

  def measured(self, number: int) -> bool:
    """Returns whether the sampler learns from the draw of that number."""
    signal = self._sampler.signal
    return signal is not None and number % signal.interval == 0

  def read(
    self,
    key: Array,
    pending: PendingDraw,
    losses: tuple[ArrayLike, ArrayLike] | None,
    gains: ArrayLike | None,
    feedback: Feedback | ArrayLike | tuple[()] | None,
  ) -> PyTree:
    """Returns the feedback of a draw; () if the sampler does not learn from it.

    Raises:
      UserError: nothing was measured although the sampler learns, or it does
        not fit the draw.
    """
    count = sum(x is not None for x in (losses, gains, feedback))
    if count > 1:
      raise UserError(
        "conflict", "update", "expected one of losses, gains and feedback"
      )
    number, draw = pending.number, pending.draw
    if not self.measured(number):
      return ()
    if not count:
      raise UserError(
        "missing",
        "update",
        f"the sampler learns from draw {number}; expected "
        "losses=(before, after), gains, or feedback, which may be ()",
      )
    if feedback is not None:
      num_arms = None if draw.policy is None else draw.policy.shape[0]
      return _read_feedback(feedback, num_arms)
    if self._refusal:
      raise self._refusal
    shape = (self._batch_size,)
    if gains is not None:
      # Any losses with these differences do.
      before, after = (
        _floats(gains, shape, "gains"),
        np.zeros(shape, np.float32),
      )
    elif isinstance(losses, tuple | list) and len(losses) == 2:
      before, after = (_floats(x, shape, "losses") for x in losses)
    else:
      raise UserError("type", "losses", "expected a pair, (before, after)")
    number, candidates = np.int32(number), pending.candidates
    return compiled.measure(
      self._sampler, key, number, draw, candidates, before, after, self._pool
    )


def _floats(
  values: ArrayLike, shape: tuple[int, ...] | None, name: str
) -> np.ndarray:
  """Returns finite numbers as float32, of that shape if one is given."""
  values = np.asarray(values, np.float32)
  if shape is not None and values.shape != shape:
    raise UserError(
      "type",
      name,
      f"expected one for each example of the batch, {list(shape)}, got shape "
      f"{list(values.shape)}",
    )
  if not np.isfinite(values).all():
    raise UserError(
      "range",
      name,
      "expected finite numbers; give feedback=() for a batch without any",
    )
  return values


def _read_feedback(feedback: Any, num_arms: int | None) -> PyTree:
  """Returns (), a Feedback or an array of finite numbers."""
  if isinstance(feedback, Feedback):
    gain = _floats(feedback.gain, None, "feedback.gain")
    arm = np.asarray(feedback.arm, np.int32)
    if arm.shape != gain.shape or gain.ndim != 1:
      raise UserError(
        "type",
        "feedback",
        f"expected an arm for each gain, got shapes {list(gain.shape)} and "
        f"{list(arm.shape)}",
      )
    if num_arms and arm.size and not 0 <= arm.min() <= arm.max() < num_arms:
      raise UserError(
        "range",
        "feedback.arm",
        f"expected arms in [0, {num_arms}), got {arm.min()} to {arm.max()}",
      )
    return Feedback(gain, arm)
  if isinstance(feedback, tuple) and not feedback:
    return ()
  return _floats(feedback, None, "feedback")
