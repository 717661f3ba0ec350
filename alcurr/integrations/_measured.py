"""The arguments of a stream's `update`."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from alcurr.core.errors import UserError
from alcurr.integrations._arrays import read_floats, to_numpy
from alcurr.integrations._queue import DrawQueue, PendingDraw
from alcurr.types import Draw, Feedback, PyTree


def read_update(
  queue: DrawQueue, draws: Sequence[PendingDraw], given: dict[str, Any]
) -> list[PyTree]:
  """Returns the feedback of each draw; () for those not measured.

  Args:
    queue: of the draws.
    draws: of which the loop measured something.
    given: losses, gains or feedback, of which all but one are None.
  """
  given = {name: x for name, x in given.items() if x is not None}
  if len(given) > 1:
    text = "expected one of losses, gains and feedback"
    raise UserError("conflict", "update", text)
  measured = [draw for draw in draws if queue.is_measured(draw)]
  if not measured:
    return [() for _ in draws]
  if not given:
    text = f"the sampler learns from draw {measured[0].number}; expected "
    text += "losses=(before, after), gains, or feedback, which may be ()"
    raise UserError("missing", "update", text)
  ((name, values),) = given.items()
  if name == "feedback":
    empty = isinstance(values, tuple) and not values
    if len(draws) > 1 and not empty:
      text = f"expected that of one draw, got {len(draws)} draws"
      raise UserError("conflict", "feedback", text)
    return [() if empty else _read_feedback(values, d.draw) for d in draws]
  if name == "gains":  # any losses with these differences do
    values = values, np.zeros(len(draws) * queue.batch_size)
  if not isinstance(values, tuple | list) or len(values) != 2:
    raise UserError("type", "losses", "expected a pair, (before, after)")
  shape = (len(draws), queue.batch_size)
  size = (math.prod(shape),)
  before, after = (read_floats(x, size, name).reshape(shape) for x in values)
  return [
    queue.measure(draw, before[i], after[i]) if queue.is_measured(draw) else ()
    for i, draw in enumerate(draws)
  ]


def _read_feedback(feedback: Any, draw: Draw) -> PyTree:
  """Returns a Feedback or an array of finite numbers."""
  if not isinstance(feedback, Feedback):
    return read_floats(feedback, None, "feedback")
  arm = np.asarray(to_numpy(feedback.arm))
  gain = read_floats(feedback.gain, arm.shape, "feedback")
  num_arms = math.inf if draw.policy is None else draw.policy.shape[0]
  if arm.size and arm.dtype.kind not in "iu":
    raise UserError(
      "type", "feedback.arm", f"expected integers, got {arm.dtype}"
    )
  if arm.size and not 0 <= arm.min() <= arm.max() < num_arms:
    text = f"expected [0, {num_arms}), got {arm.min()} to {arm.max()}"
    raise UserError("range", "feedback.arm", text)
  return Feedback(gain, arm.astype(np.int32))
