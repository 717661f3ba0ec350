"""The arguments of a stream's `select` and `update`."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from alcurr.core.errors import UserError
from alcurr.integrations._arrays import read_floats, to_numpy
from alcurr.integrations._pending import PendingDraw
from alcurr.integrations._queue import DrawQueue
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
    text += "losses, gains, or feedback, which may be ()"
    raise UserError("missing", "update", text)
  ((name, values),) = given.items()
  if name == "feedback":
    empty = isinstance(values, tuple) and not values
    if len(draws) > 1 and not empty:
      text = f"expected that of one draw, got {len(draws)} draws"
      raise UserError("conflict", "feedback", text)
    return [
      () if empty else _read_feedback(values, d.draw, queue.feedback)
      for d in draws
    ]
  pays_arms = isinstance(queue.feedback, Feedback)
  pays_arms &= queue.shapes.arm is not None
  if name == "gains" and not pays_arms:
    text = "the sampler pays no arms; expected losses or feedback"
    raise UserError("unsupported", "update", f"{text}, see docs/loops.md")
  before, after = _read_losses(queue, len(draws), name, values)
  if name == "gains" and queue.feedback_of_losses is None:
    return [_credit(queue, d, before[i]) for i, d in enumerate(draws)]
  feedback = []
  for i, draw in enumerate(draws):
    losses = before[i], None if after is None else after[i]
    is_measured = queue.is_measured(draw)
    feedback.append(queue.measure(draw, *losses) if is_measured else ())
  return feedback


def _read_losses(
  queue: DrawQueue, num_draws: int, name: str, values: Any
) -> tuple[np.ndarray, np.ndarray | None]:
  """Returns losses before and after an update, [n, B] each, or the former.

  Gains are losses before, if those after are 0.
  """
  shape = num_draws, queue.batch_size
  pair = [values]
  # A pair is of arrays, and no numbers of a batch of two.
  if name == "losses" and isinstance(values, tuple | list) and len(values) == 2:
    pair = values if all(np.ndim(to_numpy(x)) for x in values) else pair
  read = [
    read_floats(x, (math.prod(shape),), name).reshape(shape) for x in pair
  ]
  if name == "gains":
    read.append(np.zeros(shape, np.float32))
  return (*read, None) if len(read) == 1 else tuple(read)


def _credit(queue: DrawQueue, draw: PendingDraw, gain: np.ndarray) -> PyTree:
  """Returns the feedback of a gain that only the loop can measure."""
  if not queue.is_measured(draw):
    return ()
  arm = np.asarray(draw.draw.arm)
  if draw.candidates is not None:
    arm = arm[np.asarray(draw.candidates.selection.slots)]
  return Feedback(gain, arm)


def read_scores(
  queue: DrawQueue, pending: PendingDraw, given: dict[str, Any]
) -> PyTree:
  """Returns the scores of candidates, given or from what is given of them."""
  given = {name: x for name, x in given.items() if x is not None}
  if not given or ("score" in given and len(given) > 1):
    code = "conflict" if given else "missing"
    raise UserError(code, "select", "expected losses and logits, or a score")
  like, (size,) = queue.candidate_shapes, queue.shapes.index.shape
  if "score" in given:
    return _read_score(given["score"], like.score, size)
  losses, logits = given.get("losses"), given.get("logits")
  if losses is not None:
    losses = _read_leading(losses, 1, size, "losses")
  if logits is not None:
    logits = _read_leading(logits, 2, size, "logits")
  return queue.score(pending, losses, logits)


def _read_score(score: Any, like: PyTree, size: int) -> PyTree:
  """Returns a score with the structure of the sampler's own."""
  leaves, treedef = jax.tree.flatten(like)
  if treedef == jax.tree.structure(0):
    return _read_leading(score, leaves[0].ndim, size, "score")
  if jax.tree.structure(score) != treedef:
    text = f"expected arrays with {size} rows in the structure {treedef}, got "
    text += str(jax.tree.structure(score))
    raise UserError("type", "score", text)
  read = (
    _read_leading(x, leaf.ndim, size, "score").astype(leaf.dtype)
    for x, leaf in zip(jax.tree.leaves(score), leaves, strict=True)
  )
  return treedef.unflatten(read)


def _read_leading(values: Any, ndim: int, size: int, name: str) -> np.ndarray:
  """Returns numbers of M candidates, which may be infinite, as float32."""
  array = np.asarray(to_numpy(values), np.float32)
  if array.ndim != ndim or len(array) != size or np.isnan(array).any():
    text = f"expected numbers for each of {size} candidates, in {ndim} "
    text += f"dimensions, got shape {list(array.shape)}"
    raise UserError("type", name, text)
  return array


def _read_feedback(feedback: Any, draw: Draw, like: PyTree) -> PyTree:
  """Returns finite numbers in the structure of the sampler's own feedback."""
  if not isinstance(feedback, Feedback):
    if len(jax.tree.leaves(like)) < 2 or isinstance(like, Feedback):
      return read_floats(feedback, None, "feedback")
    leaves, treedef = jax.tree.flatten(like)
    if jax.tree.structure(feedback) != treedef:
      text = f"expected the structure {treedef}"
      raise UserError("type", "feedback", text)
    return treedef.unflatten(
      read_floats(x, None, "feedback").astype(leaf.dtype)
      for x, leaf in zip(jax.tree.leaves(feedback), leaves, strict=True)
    )
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
