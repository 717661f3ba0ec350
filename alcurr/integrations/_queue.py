"""The state of a stream: its sampler's, and the draws that await an update."""

import collections
import dataclasses
import functools

import jax
import numpy as np

from alcurr.core.errors import UserError
from alcurr.integrations import _compiled as compiled
from alcurr.training.step import run_keys
from alcurr.types import Array, Candidates, Draw, Pool, PyTree, Sampler


@dataclasses.dataclass
class PendingDraw:
  """A draw that is not yet part of the sampler's state."""

  number: int
  draw: Draw
  handed_out: bool = False  # to a loop or a loader
  candidates: Candidates | None = None  # once some were selected
  feedback: PyTree | None = None  # None until it is updated


class DrawQueue:
  """Makes draws, and updates the sampler's state up to `delay` draws later.

  Attributes:
    key: of the draws.
    state: of the sampler, before the pending draws.
    pending: the last draws, oldest first.
    next_number: of the next draw to be made.
    shapes: of a draw.
  """

  def __init__(self, sampler: Sampler, pool: Pool, key: Array, delay: int):
    """Starts at the first draw, on the device of the pool and the key."""
    self._sampler, self._pool, self._delay = sampler, pool, delay
    _, key_sampler, self.key = run_keys(key)
    self.state = jax.device_put(sampler.init(key_sampler, pool), key.device)
    self.pending: collections.deque[PendingDraw] = collections.deque()
    self.next_number = 0
    self.shapes: Draw = jax.eval_shape(
      functools.partial(compiled.sample, sampler),
      self.key,
      np.int32(0),
      self.state,
      pool,
    )

  def batch_size(self) -> int:
    """Returns B, the examples trained on at a step."""
    if self._sampler.select is None:
      return self.shapes.index.shape[0]
    selection = jax.eval_shape(
      functools.partial(compiled.select, self._sampler),
      self.key,
      np.int32(0),
      self.state,
      self.shapes,
      jax.ShapeDtypeStruct(self.shapes.index.shape, np.float32),
    )
    return selection.slots.shape[0]

  def find(self, number: int | None) -> PendingDraw:
    """Returns the draw of that number, or the oldest, without an update.

    Raises:
      UserError: there is none.
    """
    for pending in self.pending:
      awaited = pending.handed_out and pending.feedback is None
      if awaited and number in (None, pending.number):
        return pending
    draw = "a draw" if number is None else f"draw {number}"
    raise UserError(
      "missing",
      "update",
      f"expected {draw} to await an update; call next() first, and update() "
      "once for each batch",
    )

  def draw(self) -> PendingDraw:
    """Makes the next draw, from the feedback that `delay` lets it know.

    Raises:
      UserError: that feedback is missing.
    """
    self.advance()
    if len(self.pending) > self._delay:
      raise UserError(
        "range",
        "delay",
        f"draw {self.next_number} needs the update of draw "
        f"{self.pending[0].number}; call update() after each batch, or take a "
        "delay of at least the batches that are prefetched (num_workers x "
        "prefetch_factor)",
      )
    draw = compiled.sample(
      self._sampler,
      self.key,
      np.int32(self.next_number),
      self.state,
      self._pool,
      self._stack_pending(),
      np.int32(len(self.pending)),
    )
    self.pending.append(PendingDraw(self.next_number, draw))
    self.next_number += 1
    return self.pending[-1]

  def _stack_pending(self) -> Draw | None:
    """Returns the pending draws, [delay, ...], padded; None without a delay."""
    if not self._delay:
      return None
    empty = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), self.shapes)
    draws = [pending.draw for pending in self.pending]
    draws += [empty] * (self._delay - len(draws))
    return jax.tree.map(lambda *x: np.stack(x), *draws)

  def advance(self) -> None:
    """Updates the state with the draws that the next one may know of."""
    while (
      self.pending
      and self.pending[0].number < self.next_number - self._delay
      and self.pending[0].feedback is not None
    ):
      self.state = self._update(self.state, self.pending.popleft())

  def select(self, pending: PendingDraw, score: np.ndarray) -> Candidates:
    """Selects from a draw's candidates, after all feedback before it."""
    state = self.state
    for earlier in self.pending:
      if earlier is pending:
        break
      state = self._update(state, earlier)
    number = np.int32(pending.number)
    selection = compiled.select(
      self._sampler, self.key, number, state, pending.draw, score
    )
    pending.candidates = Candidates(pending.draw, score, selection)
    return pending.candidates

  def _update(self, state: PyTree, pending: PendingDraw) -> PyTree:
    feedback = () if pending.feedback is None else pending.feedback
    return compiled.update(self._sampler, state, pending.draw, feedback)
