"""The state of a stream: its sampler's, and the draws that await an update."""

import collections
import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from alcurr.core import specs
from alcurr.core.errors import FaultError, UserError
from alcurr.integrations import _programs
from alcurr.integrations._arrays import to_numpy
from alcurr.integrations._fingerprint import PARTS, fingerprint
from alcurr.integrations._named_arrays import (
  name_arrays,
  read_feedback,
  read_tree,
  refuse,
)
from alcurr.integrations._needs import Needs
from alcurr.integrations._pending import PendingDraw
from alcurr.integrations._shapes import score_shapes
from alcurr.training import invariants
from alcurr.training.batches import select_first
from alcurr.training.keys import run_keys
from alcurr.types import (
  Array,
  Candidates,
  Draw,
  Pool,
  PyTree,
  Sampler,
  Selection,
)

_MAX_DRAWS = 2**31 - 1


class DrawQueue:
  """Makes draws, and updates the sampler's state up to `delay` draws later."""

  def __init__(self, sampler: Sampler, pool: Pool, key: Array, delay: int):
    """Starts at the first draw, on the device of the pool and the key."""
    self.sampler, self.pool, self.delay = sampler, pool, delay
    _, key_sampler, self.key = run_keys(key)
    # The sampler's state before the pending draws; the oldest is the first.
    self.state = jax.device_put(sampler.init(key_sampler, pool), key.device)
    self.pending: collections.deque[PendingDraw] = collections.deque()
    self.next_number = 0  # of the next draw to be made
    self.shapes: Draw = jax.eval_shape(sampler.sample, key, self.state, pool)
    self.candidate_shapes: Candidates | None = None
    shape = self.shapes.index.shape
    if sampler.select is not None:
      score = score_shapes(sampler, pool, self.shapes)
      selection = jax.eval_shape(
        sampler.select, key, self.state, self.shapes, score
      )
      shape = selection.slots.shape
      self.candidate_shapes = Candidates(
        self.shapes, score, selection, jax.ShapeDtypeStruct((), bool)
      )
    self.batch_size: int = shape[0]
    self.needs = Needs(
      sampler, pool, key, self.shapes, self.candidate_shapes, self.batch_size
    )

  @functools.cached_property
  def fingerprint(self) -> dict[str, np.ndarray]:
    """Returns what a stream that resumes this one must have in common."""
    return fingerprint(
      self.sampler, self.pool, self.key, self.batch_size, self.delay
    )

  def is_measured(self, pending: PendingDraw) -> bool:
    """Returns whether the sampler learns from a draw."""
    return self.learns and pending.number % self.sampler.signal.interval == 0

  def measure(
    self, pending: PendingDraw, known: Mapping[str, np.ndarray]
  ) -> PyTree:
    """Returns the sampler's signal from what is known of B examples."""
    sampler, key, number = self.sampler, self.key, np.int32(pending.number)
    draw, candidates = pending.draw, pending.candidates
    with specs.errors_in("update"):
      return _programs.measure(
        sampler, key, number, draw, candidates, known, self.pool
      )

  @property
  def learns(self) -> bool:
    """True if the sampler's signal measures something."""
    if self.sampler.signal is None:
      return False
    feedback = self.needs.feedback
    return feedback is None or bool(jax.tree.leaves(feedback))

  def find(self, number: int | None) -> PendingDraw:
    """Returns the draw of that number, or the oldest, without an update."""
    for pending in self.pending:
      if pending.awaited and number in (None, pending.number):
        return pending
    draw = "a draw" if number is None else f"draw {number}"
    text = f"expected {draw} to await an update; call next() first, then "
    raise UserError("missing", "update", text + "update() once for each batch")

  def find_all(self, index: np.ndarray) -> list[PendingDraw]:
    """Returns the draws, without an update, of a loop's examples."""
    awaited, found = [p for p in self.pending if p.awaited], []
    whole = index.size and index.size % self.batch_size == 0
    for part in index.reshape(-1, self.batch_size) if whole else [index]:
      matches = (p for p in awaited if np.array_equal(p.trained_on, part))
      pending = next(matches, None)
      if pending is None:
        text = "expected the examples of whole batches that await an update, "
        raise UserError("missing", "index", text + "in the order of each batch")
      awaited.remove(pending)
      found.append(pending)
    return found

  def draw(self) -> PendingDraw:
    """Makes the next draw, without the feedback of the last `delay` draws."""
    self.advance()
    number = self.next_number
    if len(self.pending) > self.delay:
      text = f"draw {number} needs the update of draw {number - self.delay - 1}"
      text += "; call update() after each batch, or take a delay of at least "
      text += "the batches prefetched (num_workers x prefetch_factor)"
      raise UserError("range", "delay", text)
    ahead = None
    if self.delay:  # of a fixed length, so that one program serves all
      empty = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), self.shapes)
      draws = [pending.draw for pending in self.pending]
      draws += [empty] * (self.delay - len(draws))
      ahead = jax.tree.map(lambda *x: np.stack(x), *draws)
    key, state, pool = self.key, self.state, self.pool
    count, step = np.int32(len(self.pending)), np.int32(number)
    draw, violations, is_scored = _programs.sample(
      self.sampler, key, step, state, pool, ahead, count
    )
    _check(int(violations), number)
    self.pending.append(self._make_pending(number, draw, bool(is_scored)))
    self.next_number += 1
    return self.pending[-1]

  def _make_pending(
    self, number: int, draw: Draw, is_scored: bool
  ) -> PendingDraw:
    """Returns a draw, which is complete if its candidates are not scored."""
    if self.candidate_shapes is None or is_scored:
      return PendingDraw(number, draw)
    score = jax.tree.map(
      lambda x: np.zeros(x.shape, x.dtype), self.candidate_shapes.score
    )
    selection = Selection(*map(np.asarray, select_first(draw, self.batch_size)))
    candidates = Candidates(draw, score, selection, np.bool_(False))
    return PendingDraw(number, draw, candidates=candidates)

  def advance(self) -> None:
    """Updates the state with the draws that the next one may know of."""
    while len(self.pending) > self.delay:
      if self.pending[0].feedback is None:
        return
      known = self.pending.popleft()
      self.state = _programs.update(
        self.sampler, self.state, known.draw, known.feedback
      )

  def score(
    self, pending: PendingDraw, known: Mapping[str, np.ndarray]
  ) -> PyTree:
    """Returns the sampler's scores from what is known of M candidates."""
    return _programs.score(self.sampler, pending.draw, known, self.pool)

  def select(self, pending: PendingDraw, score: PyTree) -> Selection:
    """Selects from a draw's candidates, after all feedback before it."""
    state = self.state
    for earlier in self.pending:
      if earlier is pending:
        break
      feedback = () if earlier.feedback is None else earlier.feedback
      state = _programs.update(self.sampler, state, earlier.draw, feedback)
    number, draw = np.int32(pending.number), pending.draw
    selection = _programs.select(
      self.sampler, self.key, number, state, draw, score
    )
    pending.candidates = Candidates(draw, score, selection, np.bool_(True))
    return selection

  def to_arrays(self) -> dict[str, np.ndarray]:
    """Returns named arrays, such as `sampler.passes.position`."""
    pending = self.pending
    updated = np.array([draw.feedback is not None for draw in pending], bool)
    trees = {
      "key": self.key,
      "next_number": np.int64(self.next_number),
      "sampler": self.state,
      "pending.updated": updated,
      **{f"feedback.{i}": draw.feedback for i, draw in enumerate(pending)},
      **{f"stream.{name}": x for name, x in self.fingerprint.items()},
    }
    if self.sampler.is_scoring is not None:
      scored = [draw.is_scored for draw in pending]
      trees["pending.scored"] = np.array(scored, bool)
    if pending:
      draws = (draw.draw for draw in pending)
      trees["pending"] = jax.tree.map(lambda *x: np.stack(x), *draws)
    return name_arrays(trees)

  def from_arrays(self, arrays: Mapping[str, Any]) -> None:
    """Resumes from the arrays of `to_arrays`, or as many lists."""
    if not isinstance(arrays, Mapping):
      text = f"expected the result of state_dict, got {type(arrays).__name__}"
      raise UserError("type", "load_state_dict", text)
    arrays = {name: np.asarray(to_numpy(x)) for name, x in arrays.items()}
    for name, here in self.fingerprint.items():
      saved = arrays.get(f"stream.{name}")
      if saved is None or not np.array_equal(saved, here):
        refuse(f"{PARTS[name]} differs, or is not in the state")
    count = arrays.get("pending.updated", np.zeros(0)).size
    if count > self.delay + 1:
      refuse(f"the state has {count} pending draws, too many for the delay")
    like = {
      "key": self.key,
      "next_number": np.int64(0),
      "sampler": self.state,
      "pending.updated": np.zeros(count, bool),
    }
    if self.sampler.is_scoring is not None:
      like["pending.scored"] = np.zeros(count, bool)
    if count:
      like["pending"] = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((count, *x.shape), x.dtype), self.shapes
      )
    # Complete before anything is replaced.
    loaded = {
      name: read_tree(arrays, name, tree) for name, tree in like.items()
    }
    if not count <= loaded["next_number"] <= _MAX_DRAWS:
      refuse(f"the state's next draw is {loaded['next_number']}")
    shapes = self.needs.feedback
    feedback = [
      read_feedback(arrays, f"feedback.{i}", shapes) if updated else None
      for i, updated in enumerate(loaded["pending.updated"])
    ]
    scored = loaded.get("pending.scored", np.ones(count, bool))
    loaded, feedback = jax.device_put((loaded, feedback), self.key.device)
    self.key, self.state = loaded["key"], loaded["sampler"]
    self.next_number = int(loaded["next_number"])
    self.pending.clear()
    for i in range(count):
      draw = jax.tree.map(lambda x, i=i: x[i], loaded["pending"])
      number = self.next_number - count + i
      pending = self._make_pending(number, draw, bool(scored[i]))
      pending.handed_out = feedback[i] is not None
      pending.feedback = feedback[i]
      self.pending.append(pending)


def _check(violations: int, number: int) -> None:
  """Raises FaultError for a draw that is not one."""
  if violations & invariants.Violation.POLICY:
    text = f"the policy of draw {number} is not finite; take a smaller learning"
    raise FaultError("diverged", "next", text + " rate, or look at the gains")
  if violations:
    text = f"draw {number} violates an invariant, most likely by a bug in the "
    text += f"sampler: {invariants.describe_violation(violations)}"
    raise FaultError("invariant", "next", text)
