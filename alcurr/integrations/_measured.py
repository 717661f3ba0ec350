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

# What a loop may tell of its examples, and the dimensions of each array.
KNOWN = {"losses": 1, "logits": 2, "logit_grads": 2, "features": 2}


def read_update(
  queue: DrawQueue, draws: Sequence[PendingDraw], given: dict[str, Any]
) -> list[PyTree]:
  """Returns the feedback of each draw; () for those not measured.

  Args:
    queue: of the draws.
    draws: of which the loop measured something.
    given: gains, feedback, and those of KNOWN; None where not given.
  """
  given = {name: x for name, x in given.items() if x is not None}
  if len(given) > 1 and not given.keys() <= KNOWN.keys():
    text = "expected one of gains, feedback, and losses with what belongs to "
    raise UserError("conflict", "update", text + "them")
  measured = [draw for draw in draws if queue.is_measured(draw)]
  if not measured:
    return [() for _ in draws]
  pays_arms = isinstance(queue.needs.feedback, Feedback)
  pays_arms &= queue.shapes.arm is not None
  if not given and queue.needs.to_update != ():
    text = f"the sampler learns from draw {measured[0].number}; expected "
    text += _expected_update(queue.needs.to_update, pays_arms)
    raise UserError("missing", "update", text)
  if "feedback" in given:
    values = given["feedback"]
    empty = isinstance(values, tuple) and not values
    if len(draws) > 1 and not empty:
      text = f"expected that of one draw, got {len(draws)} draws"
      raise UserError("conflict", "feedback", text)
    return [
      () if empty else _read_feedback(values, d.draw, queue.needs.feedback)
      for d in draws
    ]
  if "gains" in given and not pays_arms:
    text = "the sampler pays no arms; expected losses or feedback"
    raise UserError("unsupported", "update", f"{text}, see docs/loops.md")
  known = _read_known(queue, len(draws), given)
  feedback = []
  for i, draw in enumerate(draws):
    row = {name: array[i] for name, array in known.items()}
    if not queue.is_measured(draw):
      feedback.append(())
    elif "gains" in given and queue.needs.feedback_of_losses is None:
      feedback.append(_credit(draw, row["losses"]))
    else:
      feedback.append(queue.measure(draw, row))
  return feedback


def _expected_update(needed: tuple[str, ...] | None, pays_arms: bool) -> str:
  """Returns the calls that report what a sampler learns from."""
  calls = [] if needed is None else [f"update({_arguments(needed)})"]
  calls += ["update(gains=...)"] if pays_arms else []
  calls += [] if calls else ["update(feedback=...), see docs/loops.md"]
  return f"{' or '.join(calls)}; update(feedback=()) skips it"


def _arguments(needed: tuple[str, ...]) -> str:
  """Returns the arguments of a call, such as "losses=..., logits=..."."""
  pair = "after" in needed
  first = ["losses=(before, after)"] if pair else []
  rest = (x for x in needed if not (pair and x in ("losses", "after")))
  return ", ".join([*first, *(f"{name}=..." for name in rest)])


def _read_known(
  queue: DrawQueue, num_draws: int, given: dict[str, Any]
) -> dict[str, np.ndarray]:
  """Returns what is known of the examples of n draws, [n, B, ...] each.

  A pair of losses becomes losses and those after the update. Gains are losses
  whose differences they are: after the update, all are 0.
  """
  shape = num_draws, queue.batch_size

  def read(name: str, values: Any) -> np.ndarray:
    size = math.prod(shape)
    if KNOWN.get(name, 1) == 1:
      array = read_floats(values, (size,), name)
    else:
      array = _read_columns(queue, values, size, name, queue.needs.to_update)
    return array.reshape(*shape, *array.shape[1:])

  if "gains" in given:
    zeros = np.zeros(shape, np.float32)
    return {"losses": read("gains", given["gains"]), "after": zeros}
  known = {name: read(name, x) for name, x in given.items() if name != "losses"}
  losses = given.get("losses")
  if is_pair(losses):
    losses, after = losses
    known["after"] = read("losses", after)
  if losses is not None:
    known["losses"] = read("losses", losses)
  return known


def is_pair(losses: Any) -> bool:
  """Returns whether losses are those before and those after an update.

  A pair is of arrays, and no numbers of a batch of two.
  """
  two = isinstance(losses, tuple | list) and len(losses) == 2
  return two and all(np.ndim(to_numpy(x)) for x in losses)


def _credit(draw: PendingDraw, gain: np.ndarray) -> Feedback:
  """Returns the feedback of a gain that only the loop can measure."""
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
    code, needed = "conflict" if given else "missing", queue.needs.to_select
    text = "" if needed is None else f"select({_arguments(needed)}) or "
    raise UserError(code, "select", f"expected {text}select(score)")
  like, (size,) = queue.candidate_shapes, queue.shapes.index.shape
  if "score" in given:
    return _read_score(given["score"], like.score, size)
  known = {
    name: _read_columns(queue, values, size, name, queue.needs.to_select)
    for name, values in given.items()
  }
  return queue.score(pending, known)


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
  """Returns numbers of n examples, which may be infinite, as float32."""
  array = np.asarray(to_numpy(values), np.float32)
  if array.ndim != ndim or len(array) != size or np.isnan(array).any():
    text = f"expected numbers for each of {size} examples, in {ndim} "
    text += f"dimensions, got shape {list(array.shape)}"
    raise UserError("type", name, text)
  return array


def _read_columns(
  queue: DrawQueue,
  values: Any,
  size: int,
  name: str,
  needed: tuple[str, ...] | None,
) -> np.ndarray:
  """Returns an argument of KNOWN; logits have a column for each class."""
  array = _read_leading(values, KNOWN[name], size, name)
  if name != "logits" or name not in (needed or ()):
    return array
  least = queue.needs.num_classes
  if array.shape[1] < least:
    text = f"expected a column for each of the {least} classes of the pool's "
    text += f"labels, got shape {list(array.shape)}"
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
