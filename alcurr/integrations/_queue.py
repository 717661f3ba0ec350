"""The state of a stream: its sampler's, and the draws that await an update."""

import collections
import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr

from alcurr.core.errors import UserError
from alcurr.training.step import run_keys, selected_draw, step_keys
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


@dataclasses.dataclass
class PendingDraw:
  """A draw that is not yet part of the sampler's state."""

  number: int
  draw: Draw
  handed_out: bool = False  # to a loop or a loader
  candidates: Candidates | None = None  # once some were selected
  feedback: PyTree | None = None  # None until it is updated


class _Known(types.SimpleNamespace):
  """The part of a StepInfo that is known; any other use raises UserError."""

  def __getattr__(self, name: str) -> NoReturn:
    text = f"the sampler's signal reads {name}, but only losses are known; "
    text += "measure it in the loop and call update(feedback=...), or make "
    text += "the sampler with gain=gains.prediction_gain()"
    raise UserError("unsupported", "update", text)


# A sampler's functions, each compiled once for all streams.
@functools.partial(jax.jit, static_argnums=0)
def _sample(sampler, key, number, state, pool, ahead, num_ahead) -> Draw:
  """Draws after the first `num_ahead` draws of `ahead`, without feedback."""

  def skip(i: Array, state: PyTree) -> PyTree:
    return sampler.update(state, jax.tree.map(lambda x: x[i], ahead), ())

  if ahead is not None:
    state = jax.lax.fori_loop(0, num_ahead, skip, state)
  return sampler.sample(step_keys(key, number).draw, state, pool)


@functools.partial(jax.jit, static_argnums=0)
def _select(sampler, key, number, state, draw, score) -> Selection:
  return sampler.select(step_keys(key, number).select, state, draw, score)


@functools.partial(jax.jit, static_argnums=0)
def _update(sampler, state, draw, feedback) -> PyTree:
  return sampler.update(state, draw, feedback)


@functools.partial(jax.jit, static_argnums=0)
def _measure(sampler, key, number, draw, candidates, before, after, pool):
  """Returns the signal for losses [B]; the draw may be of M candidates."""
  new_params, batch = _Known(), _Known()

  def loss_fn(of: PyTree, examples: PyTree) -> Array:
    if examples is not batch:
      return _Known().losses_of_other_examples  # raises
    return after if of is new_params else before

  info = _Known(
    draw=selected_draw(candidates) if candidates else draw,
    candidates=candidates,
    batch=batch,
    loss=before,
    params=_Known(),
    new_params=new_params,
    pool=pool,
    loss_fn=loss_fn,
  )
  signal = sampler.signal.measure(step_keys(key, number).signal, info)
  if not isinstance(signal, Feedback | jax.Array):
    text = f"expected a Feedback or an array, got {type(signal).__name__}"
    raise UserError("unsupported", "signal", text)
  return signal


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
    return _measure(
      sampler, key, number, draw, candidates, before, after, self.pool
    )

  def find(self, number: int | None) -> PendingDraw:
    """Returns the draw of that number, or the oldest, without an update."""
    for pending in self.pending:
      awaited = pending.handed_out and pending.feedback is None
      if awaited and number in (None, pending.number):
        return pending
    draw = "a draw" if number is None else f"draw {number}"
    text = f"expected {draw} to await an update; call next() first, then "
    raise UserError("missing", "update", text + "update() once for each batch")

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
    draw = _sample(self.sampler, key, step, state, pool, ahead, count)
    self.pending.append(PendingDraw(number, draw))
    self.next_number += 1
    return self.pending[-1]

  def advance(self) -> None:
    """Updates the state with the draws that the next one may know of."""
    while len(self.pending) > self.delay:
      if self.pending[0].feedback is None:
        return
      known = self.pending.popleft()
      self.state = _update(self.sampler, self.state, known.draw, known.feedback)

  def select(self, pending: PendingDraw, score: np.ndarray) -> Selection:
    """Selects from a draw's candidates, after all feedback before it."""
    state = self.state
    for earlier in self.pending:
      if earlier is pending:
        break
      feedback = () if earlier.feedback is None else earlier.feedback
      state = _update(self.sampler, state, earlier.draw, feedback)
    number, draw = np.int32(pending.number), pending.draw
    selection = _select(self.sampler, self.key, number, state, draw, score)
    pending.candidates = Candidates(draw, score, selection)
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
    count = len(arrays.get("pending.updated", ()))
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


def _is_key(leaf: Any) -> bool:
  return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _read(arrays: Mapping[str, Any], prefix: str, like: PyTree) -> PyTree:
  """Returns a tree from the arrays of `to_arrays`, shaped like another."""

  def read_leaf(path: Any, leaf: Any) -> Any:
    name = prefix + keystr(path)
    raw = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    value = np.asarray(arrays.get(name, []), raw.dtype)
    if value.shape != raw.shape:
      got = list(value.shape) if name in arrays else "nothing"
      _refuse(f"expected {name!r} of shape {list(raw.shape)}, got {got}")
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
