"""A sampler's draws, one call at a time, for loops outside JAX.

    indices = stream.next()          train on them
    stream.update(losses=(before, after))

Draw n depends on the key, on n, on the draws before it, and on the feedback for
the draws before n - delay; never on when anything was called. So a loader may
prefetch up to `delay` batches, with any number of workers, and the sequence
stays the same.
"""

# So that `help` shows ArrayLike by its name.
from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from alcurr.core import specs
from alcurr.core.arguments import check_record
from alcurr.core.errors import UserError
from alcurr.data.given_pools import check_pool
from alcurr.integrations._arrays import read_key, to_numpy
from alcurr.integrations._drawn import Drawn, Selected
from alcurr.integrations._measured import read_scores, read_update
from alcurr.integrations._pending import PendingDraw
from alcurr.integrations._queue import DrawQueue
from alcurr.types import (
  Array,
  Feedback,
  LabelJudgement,
  Pool,
  PyTree,
  Sampler,
)


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
      sampler: any; if its signal needs more than the losses of a batch, use
        `update(gains=...)` or `update(feedback=...)`.
      pool: with the sampler's partitions, see `pool_info`; images are ignored.
      key: the seed of the sequence, any integer, or a key of jax.random.
      delay: draws that may await their update when the next one is made, at
        least the batches that a loader prefetches. A draw depends only on the
        feedback of draws more than `delay` before it. 0: `next` and `update`
        alternate.

    Raises:
      UserError: the sampler does not fit the pool.
    """
    with specs.errors_in("IndexStream"):
      check_record(Sampler, sampler=sampler)
    check_pool(pool, "pool")
    specs.check_range("delay", delay, 0)
    cpu = jax.local_devices(backend="cpu")[0]
    read = sampler.spec.partitions
    partitions = {k: v for k, v in pool.partitions.items() if k in read}
    pool = pool._replace(source=(), partitions=partitions)
    self._sampler = sampler
    self.num_examples: int = pool.label.shape[0]  # N
    with jax.default_device(cpu), specs.errors_in("IndexStream"):
      pool, key = jax.device_put((pool, read_key(key)), cpu)
      self._queue = DrawQueue(sampler, pool, key, delay)
    self.batch_size: int = self._queue.batch_size
    self._lock = threading.Lock()

  @property
  def learns(self) -> bool:
    """True if the sampler learns from what was trained on."""
    return self._queue.learns

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
    draw = jax.tree.map(np.array, pending.offered)
    if draw.label is None:
      label = np.asarray(self._queue.pool.label)[draw.index]
      draw = draw._replace(label=label)
    scored = self._sampler.select is not None and pending.is_scored
    return Drawn(
      number=pending.number,
      measured=self._queue.is_measured(pending),
      scored=scored,
      **draw._asdict(),
    )

  def next(self) -> np.ndarray:
    """Returns the indices of the next batch, [B] int32.

    A sampler with candidates returns M of them: score them and call `select`.
    At a step that it does not score, it returns the B to train on.

    Raises:
      UserError: more than `delay` draws have no update yet.
    """
    with self._lock:
      ready = (p for p in self._queue.pending if not p.handed_out)
      pending = next(ready, None) or self._queue.draw()
      pending.handed_out = True
      return np.array(pending.offered.index)

  def select(
    self,
    score: PyTree = None,
    number: int | None = None,
    *,
    losses: ArrayLike | None = None,
    logits: ArrayLike | None = None,
    logit_grads: ArrayLike | None = None,
    features: ArrayLike | None = None,
  ) -> Selected:
    """Selects the examples to train on from the candidates of a draw.

    The selection depends on the feedback of all draws before it. Give what the
    sampler's score looks at, or the score itself.

    Args:
      score: [M], of each candidate, or a PyTree of such arrays; as
        `sampler.score` returns it.
      number: of the draw; None for the oldest without an update.
      losses: [M], of each candidate.
      logits: [M, V], of each candidate.
      logit_grads: [M, V], the gradient of each loss in its logits.
      features: [M, F], the inputs of the last layer.

    Raises:
      UserError: the sampler draws no candidates, its score needs something
        else, or they do not fit.
    """
    if self._sampler.select is None:
      text = "the sampler draws no candidates"
      raise UserError("unsupported", "select", text)
    given = {
      "score": score,
      "losses": losses,
      "logits": logits,
      "logit_grads": logit_grads,
      "features": features,
    }
    with self._lock:
      pending = self._queue.find(number)
      if pending.is_scored:
        self._queue.select(pending, read_scores(self._queue, pending, given))
    slots, weight = map(np.array, pending.candidates.selection)
    return Selected(slots, pending.trained_on, weight)

  def update(
    self,
    *,
    losses: ArrayLike | tuple[ArrayLike, ArrayLike] | None = None,
    logits: ArrayLike | None = None,
    logit_grads: ArrayLike | None = None,
    features: ArrayLike | None = None,
    gains: ArrayLike | None = None,
    feedback: Feedback | ArrayLike | tuple[()] | None = None,
    number: int | None = None,
    index: ArrayLike | None = None,
  ) -> None:
    """Reports what the loop measured; call it once for each draw.

    Where the sampler learns, the error of a missing argument names it. All are
    ignored unless `drawn.measured`.

    Args:
      losses: [B] each, a pair (before, after) of the examples' losses around
        the update; or those before it alone, if the signal reads no others.
      logits: [B, V], before the update, if the signal reads them.
      logit_grads: [B, V], the gradient of each loss in its logits; likewise.
      features: [B, F], the inputs of the last layer; likewise.
      gains: [B], instead of these: the gain of each example, credited to its
        arm. Any gain: the loop may measure it as it likes.
      feedback: instead of all, the result of the sampler's `signal`: a
        Feedback for bandits, the mistakes on each class [V] for
        class_reweighting; () for none.
      number: of the draw; None for the oldest without an update.
      index: instead of number, the examples trained on: [B], or [n B] of n
        draws, such as those of n processes. Losses or gains are as many.

    Raises:
      UserError: something that the sampler learns from is missing, or does
        not fit the draw.
    """
    given = {
      "losses": losses,
      "logits": logits,
      "logit_grads": logit_grads,
      "features": features,
      "gains": gains,
      "feedback": feedback,
    }
    if number is not None and index is not None:
      raise UserError("conflict", "update", "expected one of number and index")
    with self._lock:
      if index is None:
        draws = [self._queue.find(number)]
      else:
        draws = self._queue.find_all(np.asarray(to_numpy(index)))
      if self._sampler.select and any(d.candidates is None for d in draws):
        raise UserError("missing", "update", "call select() before update()")
      # Complete before anything is updated.
      read = read_update(self._queue, draws, given)
      for draw, feedback in zip(draws, read, strict=True):
        draw.feedback = feedback
      self._queue.advance()

  def rewind(self) -> None:
    """Makes `next` return all draws without an update once more, in order.

    So the first batches of a new loader are those that the last prefetched.
    """
    with self._lock:
      for pending in self._queue.pending:
        pending.handed_out = pending.feedback is not None

  def judge(self) -> LabelJudgement:
    """Returns the sampler's opinion of the labels, in host memory.

    Raises:
      UserError: the sampler does not judge labels.
    """
    if self._sampler.judge is None:
      raise UserError("unsupported", "judge", "the sampler judges no labels")
    with self._lock:
      self._queue.advance()
      return jax.device_get(self._sampler.judge(self._queue.state))

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
