"""A sampler's draws, one call at a time, for loops outside JAX.

    indices = stream.next()          train on them
    stream.update(losses=(before, after))

Draw n depends on the key, on n, on the draws before it, and on the feedback for
the draws before n - delay; never on when anything was called. So a loader may
prefetch up to `delay` batches, with any number of workers, and the sequence
stays the same.
"""

import math
import numbers
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.integrations._queue import DrawQueue, PendingDraw
from alcurr.types import Array, Draw, Feedback, Pool, PyTree, Sampler


class Drawn(NamedTuple):
  """A draw, in host memory."""

  number: int  # its place in the sequence, from 0
  measured: bool  # whether the sampler learns from it
  index: np.ndarray  # [B] int32, into the pool; or [M], candidates
  prob: np.ndarray  # [B] float32, P(this slot draws this example | state)
  weight: np.ndarray  # [B] float32, loss weight
  arm: np.ndarray | None  # [B] int32
  policy: np.ndarray | None  # [K] float32, the arms' probabilities
  label: np.ndarray | None  # [B], trained on instead of the pool's


class Selected(NamedTuple):
  """The examples to train on, selected from the candidates."""

  slots: np.ndarray  # [B] int32 in [0, M)
  index: np.ndarray  # [B] int32, into the pool
  weight: np.ndarray  # [B] float32, loss weight


class IndexStream:
  """The batches that a sampler draws from a pool, and its state.

  With the same seed and feedback, a trial of `alcurr.main` makes the same
  draws. All computation is on the CPU; with JAX_PLATFORMS=cpu in the
  environment, JAX does not touch a GPU. Threads may share a stream.
  """

  def __init__(
    self, sampler: Sampler, pool: Pool, key: Array | int = 0, delay: int = 0
  ):
    """Starts at the first draw.

    Args:
      sampler: any; if its signal needs more than the losses or gains of a
        batch, use `update(feedback=...)`.
      pool: with the sampler's partitions, see `pool_info`; images are ignored.
      key: of the whole sequence; an int is a seed.
      delay: draws that may await their update when the next one is made, at
        least the batches that a loader prefetches. A draw depends only on the
        feedback of draws more than `delay` before it. 0: `next` and `update`
        alternate.

    Raises:
      UserError: the sampler does not fit the pool.
    """
    specs.check_range("delay", delay, 0)
    cpu = jax.local_devices(backend="cpu")[0]
    read = sampler.spec.partitions
    partitions = {k: v for k, v in pool.partitions.items() if k in read}
    pool = pool._replace(source=(), partitions=partitions)
    self._sampler = sampler
    self.num_examples: int = pool.label.shape[0]  # N
    with jax.default_device(cpu), specs.errors_in("IndexStream"):
      if isinstance(key, numbers.Integral):
        key = jax.random.key(key)
      pool, key = jax.device_put((pool, key), cpu)
      self._queue = DrawQueue(sampler, pool, key, delay)
    self.batch_size: int = self._queue.batch_size
    self._lock = threading.Lock()

  @property
  def learns(self) -> bool:
    """True if the sampler learns from what was trained on."""
    return self._sampler.signal is not None

  @property
  def updates(self) -> int:
    """The number of the first draw without an update."""
    return self._first_number(lambda pending: pending.feedback is None)

  @property
  def handed_out(self) -> int:
    """The number of the first draw that `next` has to return."""
    return self._first_number(lambda pending: not pending.handed_out)

  @property
  def drawn(self) -> Drawn:
    """The current draw of the loop: the oldest without an update.

    Raises:
      UserError: there is none.
    """
    with self._lock:
      pending = self._queue.find(None)
    draw = jax.tree.map(np.asarray, pending.draw)
    measured = self._queue.is_measured(pending)
    return Drawn(number=pending.number, measured=measured, **draw._asdict())

  def next(self) -> np.ndarray:
    """Returns the indices of the next batch, [B] int32.

    A sampler with candidates returns M of them: score them and call `select`.

    Raises:
      UserError: more than `delay` draws have no update yet.
    """
    with self._lock:
      ready = (p for p in self._queue.pending if not p.handed_out)
      pending = next(ready, None) or self._queue.draw()
      pending.handed_out = True
      return np.asarray(pending.draw.index)

  def select(self, score: ArrayLike, number: int | None = None) -> Selected:
    """Selects the examples to train on from the candidates of a draw.

    The selection depends on the feedback of all draws before it.

    Args:
      score: [M], of each candidate, such as its loss; see `sampler.score`.
      number: of the draw; None for the oldest without an update.

    Raises:
      UserError: the sampler draws no candidates, or the scores do not fit.
    """
    if self._sampler.select is None:
      text = "the sampler draws no candidates"
      raise UserError("unsupported", "select", text)
    score = np.asarray(score, np.float32)
    shape = self._queue.shapes.index.shape
    if score.shape != shape or np.isnan(score).any():
      text = f"expected {shape[0]} numbers, one for each candidate, got shape "
      raise UserError("type", "score", text + str(list(score.shape)))
    with self._lock:
      pending = self._queue.find(number)
      selection = self._queue.select(pending, score)
    slots, weight = map(np.asarray, selection)
    return Selected(slots, np.asarray(pending.draw.index)[slots], weight)

  def update(
    self,
    *,
    losses: tuple[ArrayLike, ArrayLike] | None = None,
    gains: ArrayLike | None = None,
    feedback: Feedback | ArrayLike | tuple[()] | None = None,
    number: int | None = None,
  ) -> None:
    """Reports what the loop measured; call it once for each draw.

    The measurements are ignored unless `drawn.measured`.

    Args:
      losses: [B] each, of the examples before and after they were trained on.
      gains: [B], instead of losses: the gain of each example, credited to its
        arm.
      feedback: instead of both, the result of the sampler's `signal`: a
        Feedback for bandits, the mistakes on each class [V] for
        class_reweighting; () for none.
      number: of the draw; None for the oldest without an update.

    Raises:
      UserError: all three are None although the sampler learns from the draw,
        or they do not fit it.
    """
    given = {"losses": losses, "gains": gains, "feedback": feedback}
    with self._lock:
      pending = self._queue.find(number)
      if self._sampler.select is not None and pending.candidates is None:
        raise UserError("missing", "update", "call select() before update()")
      pending.feedback = _read_update(self._queue, pending, given)
      self._queue.advance()

  def rewind(self) -> None:
    """Makes `next` return all draws without an update once more, in order.

    So the first batches of a new loader are those that the last prefetched.
    """
    with self._lock:
      for pending in self._queue.pending:
        pending.handed_out = pending.feedback is not None

  def state_dict(self) -> dict[str, np.ndarray]:
    """Returns arrays by name, for `numpy.savez(file, **state)` or JSON.

    They include the draws without an update, which a resumed stream returns
    first, as after a `rewind`.
    """
    with self._lock:
      return self._queue.to_arrays()

  def load_state_dict(self, state: Mapping[str, Any]) -> None:
    """Resumes from the arrays of `state_dict`, or lists of their numbers.

    Raises:
      UserError: they are of another sampler, pool or delay.
    """
    with self._lock:
      self._queue.from_arrays(state)

  def __reduce__(self):
    text = "cannot be copied to another process, where no update would reach it"
    text += "; give worker processes the indices"
    raise UserError("unsupported", "IndexStream", text)

  def _first_number(self, matches: Callable[[PendingDraw], bool]) -> int:
    """Returns the number of the first match, or of the next draw to make."""
    with self._lock:
      matching = (p.number for p in self._queue.pending if matches(p))
      return next(matching, self._queue.next_number)


def _read_update(
  queue: DrawQueue, pending: PendingDraw, given: dict[str, Any]
) -> PyTree:
  """Returns a draw's feedback from the arguments of `update`; () if unused."""
  given = {name: x for name, x in given.items() if x is not None}
  if len(given) > 1:
    text = "expected one of losses, gains and feedback"
    raise UserError("conflict", "update", text)
  if not queue.is_measured(pending):
    return ()
  if not given:
    text = f"the sampler learns from draw {pending.number}; expected losses="
    text += "(before, after), gains, or feedback, which may be ()"
    raise UserError("missing", "update", text)
  ((name, values),) = given.items()
  if name == "feedback":
    return _read_feedback(values, pending.draw)
  if name == "gains":  # any losses with these differences do
    values = values, np.zeros(queue.batch_size)
  if not isinstance(values, tuple | list) or len(values) != 2:
    raise UserError("type", "losses", "expected a pair, (before, after)")
  shape = (queue.batch_size,)
  before, after = (_read_floats(x, shape, name) for x in values)
  return queue.measure(pending, before, after)


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
