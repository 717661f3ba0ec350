"""What a sampler learns of a batch that another loop trained on."""

import functools
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from alcurr.core.errors import UserError
from alcurr.integrations import compiled
from alcurr.types import Array, Draw, Feedback, Pool, PyTree, Sampler


class FeedbackReader:
  """Makes a sampler's feedback of what a loop hands over, or refuses it."""

  def __init__(self, sampler: Sampler, key: Array, draw: Draw, pool: Pool):
    """Finds out whether the sampler learns, and whether losses will do.

    Args:
      sampler: any.
      key: of the steps, see `step.step_keys`.
      draw: of this sampler, or its shapes.
      pool: likewise.

    Raises:
      UserError: its signal is nothing that a loop could hand over.
    """
    self._sampler, self._pool = sampler, pool
    self.learns = True
    self._refusal: UserError | None = None
    loss = jax.ShapeDtypeStruct(draw.index.shape, np.float32)
    try:
      signal = jax.eval_shape(
        functools.partial(compiled.measure, sampler),
        *(key, np.int32(0), draw, loss, loss, pool),
      )
    except UserError as refusal:
      self._refusal = refusal
      return
    self.learns = signal != ()
    if self.learns and not isinstance(signal, Feedback | jax.ShapeDtypeStruct):
      raise UserError(
        "IndexStream: the sampler's signal must be a Feedback, an array or (), "
        f"got {type(signal).__name__}."
      )

  def measured(self, number: int) -> bool:
    """Whether the sampler learns from the draw of that number."""
    return self.learns and number % self._sampler.interval == 0

  def feedback_of(
    self,
    key: Array,
    number: int,
    draw: Draw,
    losses: tuple[ArrayLike, ArrayLike] | None,
    gains: ArrayLike | None,
    feedback: Feedback | ArrayLike | tuple[()] | None,
  ) -> PyTree:
    """What the sampler is updated with, of one of the three.

    Args:
      key: of the steps.
      number: of the draw.
      draw: of B examples.
      losses: see `stream.IndexStream.update`, as of the others.
      gains: likewise.
      feedback: likewise.

    Raises:
      UserError: none of the three where the sampler learns, or what does not
        fit the draw.
    """
    num_given = sum(x is not None for x in (losses, gains, feedback))
    if num_given > 1:
      raise UserError("update: give losses, gains or feedback, one of them.")
    if not self.measured(number):
      return ()
    if not num_given:
      raise UserError(
        f"update: the sampler learns from draw {number}; give "
        "losses=(before, after), gains, or feedback, which is () of a batch "
        "that taught nothing."
      )
    if feedback is not None:
      return _feedback_of(feedback, draw.policy.shape[0])
    if self._refusal:
      raise self._refusal
    pair = _losses_of(losses, gains, draw.index.shape[0])
    return compiled.measure(
      *(self._sampler, key, np.int32(number), draw, *pair, self._pool)
    )


def _losses_of(
  losses: tuple[ArrayLike, ArrayLike] | None,
  gains: ArrayLike | None,
  batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
  """The losses before and after, [B] float32 each; of gains with none left."""
  if gains is not None:
    before = _floats(gains, (batch_size,), "gains")
    return before, np.zeros_like(before)
  if not isinstance(losses, tuple | list) or len(losses) != 2:
    raise UserError("update: losses must be a pair, (before, after).")
  before, after = (_floats(x, (batch_size,), "losses") for x in losses)
  return before, after


def _floats(
  values: ArrayLike, shape: tuple[int, ...] | None, name: str
) -> np.ndarray:
  """Finite numbers as float32, of that shape if one is asked for."""
  values = np.asarray(values, np.float32)
  if shape is not None and values.shape != shape:
    raise UserError(
      f"update: {name} must be one for each example of the batch, "
      f"{list(shape)}, got shape {list(values.shape)}."
    )
  if not np.isfinite(values).all():
    raise UserError(
      f"update: {name} that are NaN or infinite teach nothing; give "
      "feedback=() for that batch."
    )
  return values


def _feedback_of(feedback: Any, num_arms: int) -> PyTree:
  """(), a Feedback or an array, of numbers that a sampler may learn from."""
  if isinstance(feedback, Feedback):
    gain = _floats(feedback.gain, None, "feedback.gain")
    arm = np.asarray(feedback.arm, np.int32)
    if arm.shape != gain.shape or gain.ndim != 1:
      raise UserError(
        "update: feedback must have an arm for each gain, got shapes "
        f"{list(gain.shape)} and {list(arm.shape)}."
      )
    if arm.size and not 0 <= arm.min() <= arm.max() < num_arms:
      raise UserError(
        f"update: the arms of feedback must be in [0, {num_arms}), got "
        f"{arm.min()} to {arm.max()}."
      )
    return Feedback(gain, arm)
  if isinstance(feedback, tuple) and not feedback:
    return ()
  return _floats(feedback, None, "feedback")
