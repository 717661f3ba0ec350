"""Reads the feedback for a batch that another loop trained on."""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike

from alcurr.core.errors import UserError
from alcurr.integrations import _compiled as compiled
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


class Measured(NamedTuple):
  """The measurements of a batch by a loop; at most one is given."""

  losses: tuple[ArrayLike, ArrayLike] | None = None
  gains: ArrayLike | None = None
  feedback: Feedback | ArrayLike | tuple[()] | None = None


def chosen_draw(draw: Draw, candidates: Candidates | None) -> Draw:
  """Returns the draw of the examples that were trained on."""
  if candidates is None:
    return draw
  slots, weight = candidates.selection
  chosen = jax.tree.map(lambda x: x[slots], draw._replace(policy=None))
  return chosen._replace(weight=weight, policy=draw.policy)


class FeedbackReader:
  """Turns what a loop measured into a sampler's feedback, or refuses it."""

  def __init__(
    self, sampler: Sampler, key: Array, draw: Draw, batch_size: int, pool: Pool
  ):
    """Finds out whether losses are enough for the sampler's signal.

    Args:
      sampler: any.
      key: of the steps, see `step_keys`.
      draw: of this sampler, or its shapes.
      batch_size: B, the examples trained on.
      pool: drawn from, or its shapes.

    Raises:
      UserError: no loop could measure its signal.
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
    try:
      signal = jax.eval_shape(
        functools.partial(_measure, sampler),
        key,
        np.int32(0),
        draw,
        candidates,
        loss,
        loss,
        pool,
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
    number: int,
    draw: Draw,
    candidates: Candidates | None,
    measured: Measured,
  ) -> PyTree:
    """Returns the feedback of a draw; () if the sampler does not learn from it.

    Args:
      key: of the steps.
      number: of the draw.
      draw: as the sampler made it.
      candidates: what was selected from it; None without candidates.
      measured: by the loop.

    Raises:
      UserError: nothing was measured although the sampler learns, or it does
        not fit the draw.
    """
    num_given = sum(x is not None for x in measured)
    if num_given > 1:
      raise UserError(
        "conflict", "update", "expected one of losses, gains and feedback"
      )
    if not self.measured(number):
      return ()
    if not num_given:
      raise UserError(
        "missing",
        "update",
        f"the sampler learns from draw {number}; expected "
        "losses=(before, after), gains, or feedback, which may be ()",
      )
    if measured.feedback is not None:
      num_arms = None if draw.policy is None else draw.policy.shape[0]
      return _read_feedback(measured.feedback, num_arms)
    if self._refusal:
      raise self._refusal
    before, after = _read_losses(measured, self._batch_size)
    return _measure(
      self._sampler,
      key,
      np.int32(number),
      draw,
      candidates,
      before,
      after,
      self._pool,
    )


def _measure(sampler, key, number, draw, candidates, before, after, pool):
  chosen = chosen_draw(draw, candidates)
  return compiled.measure(
    sampler, key, number, chosen, candidates, before, after, pool
  )


def _read_losses(
  measured: Measured, batch_size: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the losses before and after, [B] float32 each."""
  if measured.gains is not None:
    # Any losses with these differences.
    before = _floats(measured.gains, (batch_size,), "gains")
    return before, np.zeros_like(before)
  losses = measured.losses
  if not isinstance(losses, tuple | list) or len(losses) != 2:
    raise UserError("type", "losses", "expected a pair, (before, after)")
  before, after = (_floats(x, (batch_size,), "losses") for x in losses)
  return before, after


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
