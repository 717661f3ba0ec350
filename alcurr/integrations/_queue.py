"""The state of a stream: its sampler's, and the draws that await an update."""

import collections
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr

from alcurr.core.errors import FaultError, UserError
from alcurr.integrations import _programs
from alcurr.integrations._arrays import to_numpy
from alcurr.integrations._fingerprint import PARTS, fingerprint
from alcurr.training import invariants
from alcurr.training.keys import run_keys
from alcurr.types import (
  Array,
  Candidates,
  Draw,
  Feedback,
  Pool,
  PyTree,
  Sampler,
  Selection,
)

_MAX_DRAWS = 2**31 - 1


@dataclasses.dataclass(eq=False)
class PendingDraw:
  """A draw that is not yet part of the sampler's state."""

  number: int
  draw: Draw
  handed_out: bool = False  # to a loop or a loader
  candidates: Candidates | None = None  # once some were selected
  feedback: PyTree | None = None  # None until it is updated

  @property
  def awaited(self) -> bool:
    """True if a loop has the batch and did not update it."""
    return self.handed_out and self.feedback is None

  @property
  def trained_on(self) -> np.ndarray:
    """The examples that the loop trains on: [B], into the pool."""
    index = np.asarray(self.draw.index)
    if self.candidates is None:
      return index
    return index[np.asarray(self.candidates.selection.slots)]


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
    shape = self.shapes.index.shape
    if sampler.select is not None:
      score = jax.ShapeDtypeStruct(shape, np.float32)
      shape = jax.eval_shape(
        sampler.select, key, self.state, self.shapes, score
      ).slots.shape
    self.batch_size: int = shape[0]

  @functools.cached_property
  def fingerprint(self) -> dict[str, np.ndarray]:
    """Returns what a stream that resumes this one must have in common."""
    return fingerprint(
      self.sampler, self.pool, self.key, self.batch_size, self.delay
    )

  def is_measured(self, pending: PendingDraw) -> bool:
    """Returns whether the sampler learns from a draw."""
    signal = self.sampler.signal
    return signal is not None and pending.number % signal.interval == 0

  def measure(
    self, pending: PendingDraw, before: np.ndarray, after: np.ndarray
  ) -> PyTree:
    """Returns the sampler's signal, if losses [B] are all that it needs."""
    sampler, key, number = self.sampler, self.key, np.int32(pending.number)
    draw, candidates = pending.draw, pending.candidates
    return _programs.measure(
      sampler, key, number, draw, candidates, before, after, self.pool
    )

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
    draw, violations = _programs.sample(
      self.sampler, key, step, state, pool, ahead, count
    )
    _check(int(violations), number)
    self.pending.append(PendingDraw(number, draw))
    self.next_number += 1
    return self.pending[-1]

  def advance(self) -> None:
    """Updates the state with the draws that the next one may know of."""
    while len(self.pending) > self.delay:
      if self.pending[0].feedback is None:
        return
      known = self.pending.popleft()
      self.state = _programs.update(
        self.sampler, self.state, known.draw, known.feedback
      )

  def select(self, pending: PendingDraw, score: np.ndarray) -> Selection:
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
    if pending:
      draws = (draw.draw for draw in pending)
      trees["pending"] = jax.tree.map(lambda *x: np.stack(x), *draws)
    return {
      name + keystr(path): np.asarray(
        jax.random.key_data(leaf) if _is_key(leaf) else leaf
      )
      for name, tree in trees.items()
      for path, leaf in jax.tree.leaves_with_path(tree)
    }

  def from_arrays(self, arrays: Mapping[str, Any]) -> None:
    """Resumes from the arrays of `to_arrays`, or as many lists."""
    if not isinstance(arrays, Mapping):
      text = f"expected the result of state_dict, got {type(arrays).__name__}"
      raise UserError("type", "load_state_dict", text)
    arrays = {name: np.asarray(to_numpy(x)) for name, x in arrays.items()}
    for name, here in self.fingerprint.items():
      saved = arrays.get(f"stream.{name}")
      if saved is None or not np.array_equal(saved, here):
        _refuse(f"{PARTS[name]} differs, or is not in the state")
    count = arrays.get("pending.updated", np.zeros(0)).size
    if count > self.delay + 1:
      _refuse(f"the state has {count} pending draws, too many for the delay")
    like = {
      "key": self.key,
      "next_number": np.int64(0),
      "sampler": self.state,
      "pending.updated": np.zeros(count, bool),
    }
    if count:
      like["pending"] = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((count, *x.shape), x.dtype), self.shapes
      )
    # Complete before anything is replaced.
    loaded = {name: _read(arrays, name, tree) for name, tree in like.items()}
    if not count <= loaded["next_number"] <= _MAX_DRAWS:
      _refuse(f"the state's next draw is {loaded['next_number']}")
    feedback = [
      _read_feedback(arrays, f"feedback.{i}") if updated else None
      for i, updated in enumerate(loaded["pending.updated"])
    ]
    loaded, feedback = jax.device_put((loaded, feedback), self.key.device)
    self.key, self.state = loaded["key"], loaded["sampler"]
    self.next_number = int(loaded["next_number"])
    self.pending.clear()
    for i in range(count):
      draw = jax.tree.map(lambda x, i=i: x[i], loaded["pending"])
      number, handed_out = self.next_number - count + i, feedback[i] is not None
      pending = PendingDraw(number, draw, handed_out, feedback=feedback[i])
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


def _is_key(leaf: Any) -> bool:
  return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _read(arrays: Mapping[str, Any], prefix: str, like: PyTree) -> PyTree:
  """Returns a tree from the arrays of `to_arrays`, shaped like another."""

  def read_leaf(path: Any, leaf: Any) -> Any:
    name = prefix + keystr(path)
    raw = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    value = arrays.get(name, np.zeros(0, bool))
    with np.errstate(invalid="ignore", over="ignore"):
      cast = value.astype(raw.dtype) if value.dtype.kind in "biuf" else value
    # JSON has lost the dtype; the numbers must be the same.
    same = cast.dtype == raw.dtype and np.array_equal(value, cast, True)
    if value.shape != raw.shape or not same:
      _refuse(f"expected {name!r} as {raw.dtype} {list(raw.shape)}")
    value = cast
    if not _is_key(leaf):
      return value
    return jax.random.wrap_key_data(value, impl=jax.random.key_impl(leaf))

  return jax.tree.map_with_path(read_leaf, like)


def _read_feedback(arrays: Mapping[str, Any], name: str) -> PyTree:
  """Returns (), an array, or a Feedback, whatever has been saved."""
  if f"{name}.gain" in arrays:
    gain, arm = (arrays[f"{name}.{field}"] for field in Feedback._fields)
    return Feedback(np.asarray(gain, np.float32), np.asarray(arm, np.int32))
  return np.asarray(arrays[name], np.float32) if name in arrays else ()


def _refuse(text: str) -> NoReturn:
  remedy = "make the stream with the sampler, pool and delay of the saved one"
  raise UserError("mismatch", "load_state_dict", f"{text}; {remedy}")
