"""What a loop hands over of a batch, checked: numbers to learn from."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from alcurr.errors import UserError
from alcurr.types import Feedback, PyTree


def losses_of(
  losses: tuple[ArrayLike, ArrayLike] | None,
  gains: ArrayLike | None,
  batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
  """The losses before and after, [B] float32 each; of gains with none left."""
  if gains is not None:
    before = floats(gains, (batch_size,), "gains")
    return before, np.zeros_like(before)
  if not isinstance(losses, tuple | list) or len(losses) != 2:
    raise UserError("update: losses must be a pair, (before, after).")
  before, after = (floats(x, (batch_size,), "losses") for x in losses)
  return before, after


def floats(
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


def feedback_of(feedback: Any, num_arms: int) -> PyTree:
  """(), a Feedback or an array, of numbers that a sampler may learn from."""
  if isinstance(feedback, Feedback):
    gain = floats(feedback.gain, None, "feedback.gain")
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
  return floats(feedback, None, "feedback")
