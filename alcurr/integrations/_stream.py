"""A sampler's draws, one call at a time, for loops outside JAX.

    indices = stream.next()          train on them
    stream.update(losses=(before, after))

Draw n is a function of the key, of n, of the draws before it, and of the
feedback for those before n - delay; never of when anything was called. So a
loader may prefetch up to `delay` batches, with any number of workers, and the
sequence stays the same.
"""

import collections
import dataclasses
import functools
import numbers
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.integrations import _compiled as compiled
from alcurr.integrations import _serialization as serialization
from alcurr.integrations._feedback import (
  FeedbackReader,
  Measured,
  chosen_draw,
)
from alcurr.training.keys import run_keys
from alcurr.types import (
  Array,
  Candidates,
  Draw,
  Feedback,
  Pool,
  PyTree,
  Sampler,
)


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


@dataclasses.dataclass
class _Pending:
  """A draw that the sampler's state has not moved past yet."""

  number: int
  draw: Draw
  handed_out: bool = False  # to a loop or a loader
  candidates: Candidates | None = None  # once some were selected
  feedback: PyTree | None = None  # None until it is updated


class IndexStream:
  """The batches that a sampler draws from a pool, and its state.

  Given the same feedback, the draws are those of an `alcurr.main` trial with
  the same seed. Everything is computed on the CPU; with JAX_PLATFORMS=cpu in
  the environment JAX does not touch a GPU. Threads may share a stream.
  """

  def __init__(
    self,
    sampler: Sampler,
    pool: Pool,
    key: Array | int = 0,
    delay: int = 0,
  ):
    """Starts at the first draw.

    Args:
      sampler: any; if its signal needs more than the losses or gains of a
        batch, use `update(feedback=...)`.
      pool: with the sampler's partitions; `pool_info` makes one without
        images. Images are ignored.
      key: of the whole sequence; an int is a seed.
      delay: draws that may be pending when the next one is made, at least the
        batches that a loader prefetches. Each draw knows the feedback of the
        draws more than `delay` before it, and no other. 0: `next` and `update`
        alternate.

    Raises:
      UserError: the sampler does not fit the pool.
    """
    if delay < 0:
      raise UserError("range", "delay", f"expected at least 0, got {delay}")
    cpu = jax.local_devices(backend="cpu")[0]
    partitions = {
      name: pool.partitions[name]
      for name in sampler.spec.partitions
      if name in pool.partitions
    }
    pool = pool._replace(source=(), partitions=partitions)
    self._sampler, self.delay = sampler, delay
    with jax.default_device(cpu), specs.errors_in("IndexStream"):
      if isinstance(key, numbers.Integral):
        key = jax.random.key(key)
      self._pool, key = jax.device_put((pool, key), cpu)
      _, key_sampler, self._key = run_keys(key)
      state = sampler.init(key_sampler, self._pool)
    self._state = jax.device_put(state, cpu)  # past all draws but the pending
    self._pending: collections.deque[_Pending] = collections.deque()
    self._next_number = 0  # of the next draw to be made
    self._lock = threading.Lock()
    self._shapes = draw = jax.eval_shape(
      functools.partial(compiled.sample, sampler),
      self._key,
      np.int32(0),
      self._state,
      self._pool,
    )
    self._empty = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), draw)
    self.batch_size: int = self._selection_size()
    self._reader = FeedbackReader(
      sampler, self._key, draw, self.batch_size, self._pool
    )

  @property
  def learns(self) -> bool:
    """True if the sampler learns from what was trained on."""
    return self._sampler.signal is not None

  @property
  def num_examples(self) -> int:
    """N, of the pool."""
    return self._pool.label.shape[0]

  @property
  def updates(self) -> int:
    """The number of draws that were updated, without a gap from the first."""
    return self._first_number(lambda pending: pending.feedback is None)

  @property
  def handed_out(self) -> int:
    """The number of draws that `next` returned and no `rewind` took back."""
    return self._first_number(lambda pending: not pending.handed_out)

  @property
  def drawn(self) -> Drawn:
    """The draw that the loop works on: the oldest without an update.

    Raises:
      UserError: there is none.
    """
    with self._lock:
      pending = self._find(None)
    draw = jax.tree.map(np.asarray, pending.draw)
    measured = self._reader.measured(pending.number)
    return Drawn(number=pending.number, measured=measured, **draw._asdict())

  def next(self) -> np.ndarray:
    """Returns the indices of the next batch, [B] int32.

    A sampler with candidates returns M of them: score them and call `select`.

    Raises:
      UserError: more than `delay` draws have no update yet.
    """
    with self._lock:
      pending = next((p for p in self._pending if not p.handed_out), None)
      if pending is None:
        pending = self._draw()
      pending.handed_out = True
      return np.asarray(pending.draw.index)

  def select(self, score: ArrayLike, number: int | None = None) -> Selected:
    """Selects the examples to train on from the candidates of a draw.

    The selection knows the feedback of every draw before it.

    Args:
      score: [M], of each candidate, such as its loss; see `sampler.score`.
      number: of the draw; None for the oldest without an update.

    Raises:
      UserError: the sampler draws no candidates, or scores that do not fit.
    """
    if self._sampler.select is None:
      raise UserError(
        "unsupported", "select", "the sampler draws no candidates"
      )
    score = np.asarray(score, np.float32)
    shape = self._shapes.index.shape
    if score.shape != shape or np.isnan(score).any():
      raise UserError(
        "type",
        "score",
        f"expected a number for each candidate, {list(shape)}, got shape "
        f"{list(score.shape)}",
      )
    with self._lock:
      pending = self._find(number)
      state = self._state
      for earlier in self._pending:
        if earlier is pending:
          break
        feedback = () if earlier.feedback is None else earlier.feedback
        state = compiled.update(self._sampler, state, earlier.draw, feedback)
      selection = compiled.select(
        self._sampler,
        self._key,
        np.int32(pending.number),
        state,
        pending.draw,
        score,
      )
      pending.candidates = Candidates(pending.draw, score, selection)
      chosen = chosen_draw(pending.draw, pending.candidates)
    slots, weight = map(np.asarray, selection)
    return Selected(slots, np.asarray(chosen.index), weight)

  def update(
    self,
    *,
    losses: tuple[ArrayLike, ArrayLike] | None = None,
    gains: ArrayLike | None = None,
    feedback: Feedback | ArrayLike | tuple[()] | None = None,
    number: int | None = None,
  ) -> None:
    """Reports what the loop measured; call it once for each draw.

    It is ignored for draws that the sampler does not learn from
    (`drawn.measured`), as between two signals of a run.

    Args:
      losses: [B] each, of the examples before and after they were trained on.
      gains: [B], instead of losses: the gain of each example, credited to its
        arm.
      feedback: instead of both, what the sampler's `signal` would return: a
        Feedback for bandits, the mistakes on each class [V] for
        class_reweighting; () for a batch to learn nothing from.
      number: of the draw; None for the oldest without an update.

    Raises:
      UserError: none of the three although the sampler learns from the draw,
        or values that do not fit it.
    """
    with self._lock:
      pending = self._find(number)
      if self._sampler.select is not None and pending.candidates is None:
        raise UserError("missing", "update", "call select() before update()")
      pending.feedback = self._reader.read(
        self._key,
        pending.number,
        pending.draw,
        pending.candidates,
        Measured(losses, gains, feedback),
      )
      self._advance()

  def rewind(self) -> None:
    """Hands out all draws without an update once more, in order.

    For a loader that starts again: what the last one had prefetched becomes
    its first batches.
    """
    with self._lock:
      for pending in self._pending:
        pending.handed_out = pending.feedback is not None

  def state_dict(self) -> dict[str, np.ndarray]:
    """Returns the state of the stream, as it continues after a `rewind`.

    Arrays by name, for `numpy.savez(file, **state)` or, as lists, for JSON.
    Prefetched draws are included and start the resumed sequence.
    """
    with self._lock:
      return serialization.to_arrays(
        self._key,
        self._state,
        self._next_number,
        [(pending.draw, pending.feedback) for pending in self._pending],
      )

  def load_state_dict(self, state: Mapping[str, Any]) -> None:
    """Resumes from what `state_dict` returned, or lists of the same numbers.

    Raises:
      UserError: it is of another sampler, pool or delay.
    """
    with self._lock:
      key, sampler_state, number, pending = serialization.from_arrays(
        state, self._key, self._state, self._shapes
      )
      if len(pending) > self.delay + 1:
        raise UserError(
          "mismatch",
          "load_state_dict",
          f"the state has {len(pending)} pending draws, too many for a delay "
          f"of {self.delay}; make the stream as the saved one was made",
        )
      cpu = self._key.device
      self._key, self._state = jax.device_put((key, sampler_state), cpu)
      self._next_number = number
      self._pending = collections.deque(
        _Pending(
          n,
          jax.device_put(draw, cpu),
          handed_out=feedback is not None,
          feedback=feedback,
        )
        for n, (draw, feedback) in enumerate(pending, number - len(pending))
      )

  def __reduce__(self):
    raise UserError(
      "unsupported",
      "IndexStream",
      "a stream cannot be copied to another process, where no update would "
      "reach it; give worker processes the indices",
    )

  def _selection_size(self) -> int:
    """Returns B, the examples trained on at a step."""
    if self._sampler.select is None:
      return self._shapes.index.shape[0]
    selection = jax.eval_shape(
      functools.partial(compiled.select, self._sampler),
      self._key,
      np.int32(0),
      self._state,
      self._shapes,
      jax.ShapeDtypeStruct(self._shapes.index.shape, np.float32),
    )
    return selection.slots.shape[0]

  def _first_number(self, matches: Callable[[_Pending], bool]) -> int:
    """Returns the number of the first match, or of the next draw to make."""
    with self._lock:
      found = (p.number for p in self._pending if matches(p))
      return next(found, self._next_number)

  def _find(self, number: int | None) -> _Pending:
    """Returns the draw of that number, or the oldest, without an update."""
    for pending in self._pending:
      awaited = pending.handed_out and pending.feedback is None
      if awaited and number in (None, pending.number):
        return pending
    what = "no draw" if number is None else f"draw {number}"
    raise UserError(
      "missing",
      "update",
      f"{what} awaits an update; call next() first, and update() once for each "
      "batch",
    )

  def _draw(self) -> _Pending:
    """Makes a draw from a state that knows what `delay` says."""
    self._advance()
    if len(self._pending) > self.delay:
      raise UserError(
        "range",
        "delay",
        f"draw {self._next_number} needs the update of draw "
        f"{self._pending[0].number}; call update() after each batch, or make "
        "the stream with a delay of at least the batches that are prefetched "
        "(num_workers x prefetch_factor)",
      )
    ahead = [pending.draw for pending in self._pending]
    draw = compiled.sample(
      self._sampler,
      self._key,
      np.int32(self._next_number),
      self._state,
      self._pool,
      self._stack(ahead),
      np.int32(len(ahead)),
    )
    self._pending.append(_Pending(self._next_number, draw))
    self._next_number += 1
    return self._pending[-1]

  def _stack(self, draws: list[Draw]) -> Draw | None:
    """Returns draws as one, [delay, ...], padded; None without a delay."""
    if not self.delay:
      return None
    padded = draws + [self._empty] * (self.delay - len(draws))
    return jax.tree.map(lambda *x: np.stack(x), *padded)

  def _advance(self) -> None:
    """Moves the state past the draws that the next one may know of."""
    while (
      self._pending
      and self._pending[0].number < self._next_number - self.delay
      and self._pending[0].feedback is not None
    ):
      first = self._pending.popleft()
      self._state = compiled.update(
        self._sampler, self._state, first.draw, first.feedback
      )
