"""A sampler's draws, one call at a time, for a loop that is not JAX's.

    indices = stream.next()          train on them
    stream.update(losses=(before, after))

Draw n is a function of the key, n, what the draws before it were, and what
was fed back of those before n - delay: never of when anything was called. So
a loader may prefetch up to `delay` batches and the sequence stays the same,
whatever its number of workers.
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
from alcurr.integrations import compiled, feedback_reader, serialization
from alcurr.training import step
from alcurr.types import Array, Draw, Feedback, Pool, PyTree, Sampler


class Drawn(NamedTuple):
  """A draw, on the host."""

  number: int  # its place in the sequence, from 0
  measured: bool  # whether the sampler learns from it
  index: np.ndarray  # [B] int32, into the pool
  arm: np.ndarray  # [B] int32
  prob: np.ndarray  # [B] float32, P(this slot draws this example | state)
  weight: np.ndarray  # [B] float32, loss weight
  policy: np.ndarray  # [K] float32, what the arms' probabilities were


@dataclasses.dataclass
class _Waiting:
  """A draw that the sampler has not gone past yet."""

  number: int
  draw: Draw
  handed: bool = False  # whether a loop or a loader has it
  feedback: PyTree | None = None  # None until there is an update


class IndexStream:
  """The batches that a sampler draws from a pool, and its state.

  The draws are those that `alcurr.main` makes in a trial of this seed, given
  the same feedback. All is computed on the CPU; with JAX_PLATFORMS=cpu in the
  environment JAX leaves a GPU alone altogether. Threads may share a stream.
  """

  def __init__(
    self,
    sampler: Sampler,
    pool: Pool,
    key: Array | int = 0,
    delay: int = 0,
  ):
    """At the first draw.

    Args:
      sampler: any; one whose signal needs more than the losses of a batch, or
        its gains, takes `update(feedback=...)`.
      pool: with the sampler's partitions; `pool_info` makes one without
        images. Its images, if it has any, are left where they are.
      key: of the whole sequence; an int is the seed of one.
      delay: draws that may wait for their update when the next one is made, at
        least the batches that a loader prefetches; each draw knows the
        feedback of those more than `delay` before it, and no more. 0: `next`
        and `update` take turns.

    Raises:
      UserError: numbers of the sampler that do not fit the pool's.
    """
    if delay < 0:
      raise UserError(f"delay must not be negative, got {delay}.")
    cpu = jax.local_devices(backend="cpu")[0]
    lean = {
      name: pool.partitions[name]
      for name in sampler.spec.partitions
      if name in pool.partitions
    }
    pool = pool._replace(source=(), arms=lean)
    self._sampler, self.delay = sampler, delay
    with jax.default_device(cpu), specs.errors_in("IndexStream"):
      if isinstance(key, numbers.Integral):
        key = jax.random.key(key)
      self._pool, key = jax.device_put((pool, key), cpu)
      _, key_sampler, self._key = step.run_keys(key)
      state = sampler.init(key_sampler, self._pool)
    self._state = jax.device_put(state, cpu)  # past all that do not wait
    self._waiting: collections.deque[_Waiting] = collections.deque()
    self._next_number = 0  # of the next draw to be made
    self._lock = threading.Lock()
    self._shapes = draw = jax.eval_shape(
      functools.partial(compiled.sample, sampler),
      *(self._key, np.int32(0), self._state, self._pool),
    )
    self._empty = Draw(*(np.zeros(x.shape, x.dtype) for x in draw))
    self.batch_size: int = draw.index.shape[0]
    self._lessons = feedback_reader.FeedbackReader(
      sampler, self._key, draw, self._pool
    )

  @property
  def learns(self) -> bool:
    """Whether the sampler learns from what was trained on."""
    return self._lessons.learns

  @property
  def num_examples(self) -> int:
    """N, of the pool."""
    return self._pool.label.shape[0]

  @property
  def updates(self) -> int:
    """The draws that were updated, from the first on without a gap."""
    return self._first(lambda waiting: waiting.feedback is None)

  @property
  def handed_out(self) -> int:
    """The draws that `next` returned, not counting what was rewound."""
    return self._first(lambda waiting: not waiting.handed)

  @property
  def drawn(self) -> Drawn:
    """The draw that a loop has in hand: the oldest without its update.

    Raises:
      UserError: there is none.
    """
    with self._lock:
      waiting = self._find(None)
    host = map(np.asarray, waiting.draw)
    measured = self._lessons.measured(waiting.number)
    return Drawn(waiting.number, measured, *host)

  def next(self) -> np.ndarray:
    """The indices of the next batch: [B] int32.

    Raises:
      UserError: more than `delay` draws wait for their update.
    """
    with self._lock:
      waiting = next((w for w in self._waiting if not w.handed), None)
      if waiting is None:
        waiting = self._draw()
      waiting.handed = True
      return np.asarray(waiting.draw.index)

  def update(
    self,
    *,
    losses: tuple[ArrayLike, ArrayLike] | None = None,
    gains: ArrayLike | None = None,
    feedback: Feedback | ArrayLike | tuple[()] | None = None,
    number: int | None = None,
  ) -> None:
    """What became of a draw; each has one update, whatever its sampler.

    Of a draw that its sampler does not learn from (`drawn.measured`) what is
    given is left out, as are the steps between two signals of a run.

    Args:
      losses: [B] each, of the draw's examples before and after they were
        trained on.
      gains: [B], in place of the losses: what was gained of each example,
        credited to its arm.
      feedback: in place of both, what the sampler's own `signal` would have
        returned: of a bandit a Feedback, of class_reweighting the mistakes on
        each class [V]; () of a batch that taught nothing.
      number: of the draw; None for the oldest that waits for its update.

    Raises:
      UserError: none of the three where the sampler learns from the draw, or
        what does not fit it.
    """
    with self._lock:
      waiting = self._find(number)
      waiting.feedback = self._lessons.feedback_of(
        *(self._key, waiting.number, waiting.draw),
        *(losses, gains, feedback),
      )
      self._go_past()

  def rewind(self) -> None:
    """What was drawn and has no update is handed out once more, in order.

    For a loader that begins anew: what the last one had prefetched is its
    first batches.
    """
    with self._lock:
      for waiting in self._waiting:
        waiting.handed = waiting.feedback is not None

  def state_dict(self) -> dict[str, np.ndarray]:
    """All of the stream, as it goes on after a `rewind`.

    Arrays by name, for `numpy.savez(file, **state)` or, as lists, for JSON.
    What was prefetched is among them, and begins the sequence that goes on.
    """
    with self._lock:
      return serialization.to_arrays(
        self._key,
        self._state,
        self._next_number,
        [(w.draw, w.feedback) for w in self._waiting],
      )

  def load_state_dict(self, state: Mapping[str, Any]) -> None:
    """Goes on from what `state_dict` returned, or lists of the same numbers.

    Raises:
      UserError: it is not of this sampler with this pool and delay.
    """
    with self._lock:
      key, sampler_state, number, waiting = serialization.from_arrays(
        state, self._key, self._state, self._shapes
      )
      if len(waiting) > self.delay + 1:
        raise UserError(
          f"the state has {len(waiting)} draws that wait, too many for a "
          f"delay of {self.delay}; make the stream as the saved one was made."
        )
      cpu = self._key.device
      self._key, self._state = jax.device_put((key, sampler_state), cpu)
      self._next_number = number
      self._waiting = collections.deque(
        _Waiting(n, jax.device_put(draw, cpu), answer is not None, answer)
        for n, (draw, answer) in enumerate(waiting, number - len(waiting))
      )

  def __reduce__(self):
    raise UserError(
      "a stream is of one process, which its updates reach; keep it out of "
      "what is copied to worker processes, and give them the indices."
    )

  def _first(self, like: Callable[[_Waiting], bool]) -> int:
    """The number of the first draw that is so, or of the next to be made."""
    with self._lock:
      numbers = (w.number for w in self._waiting if like(w))
      return next(numbers, self._next_number)

  def _find(self, number: int | None) -> _Waiting:
    """The draw of that number, or the oldest, that waits for its update."""
    for waiting in self._waiting:
      in_hand = waiting.handed and waiting.feedback is None
      if in_hand and number in (None, waiting.number):
        return waiting
    what = "no draw waits" if number is None else f"draw {number} does not wait"
    raise UserError(
      f"{what} for its update; call next() first, and update() once for each "
      "batch."
    )

  def _draw(self) -> _Waiting:
    """One more draw, from a state that knows just what `delay` says."""
    self._go_past()
    if len(self._waiting) > self.delay:
      raise UserError(
        f"draw {self._waiting[0].number} waits for its update, and draw "
        f"{self._next_number} for it; call update() after each batch, or make "
        "the stream with a delay of at least the batches that are prefetched "
        "(num_workers x prefetch_factor)."
      )
    ahead = [waiting.draw for waiting in self._waiting]
    number = np.int32(self._next_number)
    draw = compiled.sample(
      *(self._sampler, self._key, number, self._state, self._pool),
      *(self._stack(ahead), np.int32(len(ahead))),
    )
    self._waiting.append(_Waiting(self._next_number, draw))
    self._next_number += 1
    return self._waiting[-1]

  def _stack(self, draws: list[Draw]) -> Draw | None:
    """Draws as one, [delay, ...], filled up; None where none ever waits."""
    if not self.delay:
      return None
    full = draws + [self._empty] * (self.delay - len(draws))
    return Draw(*map(np.stack, zip(*full, strict=True)))

  def _go_past(self) -> None:
    """Moves the state past the draws that the next one may know of."""
    while (
      self._waiting
      and self._waiting[0].number < self._next_number - self.delay
      and self._waiting[0].feedback is not None
    ):
      first = self._waiting.popleft()
      self._state = compiled.update(
        self._sampler, self._state, first.draw, first.feedback
      )
