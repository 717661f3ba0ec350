"""A sampler's functions, each compiled once for all streams."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from alcurr.core.errors import UserError
from alcurr.training import invariants
from alcurr.training.batches import selected_draw
from alcurr.training.keys import step_keys
from alcurr.training.partial_info import make_partial
from alcurr.types import (
  Array,
  Batch,
  CandidateInfo,
  Draw,
  Pool,
  PyTree,
  Selection,
  StepInfo,
)

_PAGE = "see docs/loops.md"


def _refuse_signal(name: str) -> UserError:
  text = f"the sampler's signal reads {name}, which only the loop knows; "
  text += "measure it there and call update(gains=...) for gains of each "
  text += f"example, or update(feedback=...); {_PAGE}"
  return UserError("unsupported", "update", text)


def _refuse_score(name: str) -> UserError:
  argument = {"loss": "losses", "logits": "logits"}.get(name)
  text = f"the sampler's score reads {name}, which only the loop knows; "
  if argument:
    text += f"pass {argument} of each candidate; {_PAGE}"
    return UserError("missing", "select", text)
  text += "compute the score there and pass it as score, an array or PyTree "
  text += f"with a leading axis of the candidates; {_PAGE}"
  return UserError("unsupported", "select", text)


@functools.partial(jax.jit, static_argnums=0)
def sample(
  sampler, key, number, state, pool, ahead, num_ahead
) -> tuple[Draw, Array, Array]:
  """Draws after the first `num_ahead` draws of `ahead`, without feedback.

  The second result is the bits of the invariants that the draw violates, and
  the third whether its candidates are scored: [] bool.
  """

  def skip(i: Array, state: PyTree) -> PyTree:
    return sampler.update(state, jax.tree.map(lambda x: x[i], ahead), ())

  if ahead is not None:
    state = jax.lax.fori_loop(0, num_ahead, skip, state)
  draw = sampler.sample(step_keys(key, number).draw, state, pool)
  label = pool.label[draw.index] if draw.label is None else draw.label
  batch = Batch((), label)
  scores = sampler.is_scoring or (lambda state: sampler.score is not None)
  violations = invariants.check_draw(sampler, state, pool, draw, batch)
  return draw, violations, jnp.bool_(scores(state))


@functools.partial(jax.jit, static_argnums=0)
def score(sampler, draw, losses, logits, pool) -> PyTree:
  """Returns the scores for losses [M], logits [M, V], or both."""
  known = {} if losses is None else {"loss": losses}
  if logits is not None:
    known["logits"] = logits
  if sampler.signal is None or sampler.signal.prepare is None:
    known["prepared"] = ()
  info = make_partial(
    CandidateInfo,
    _refuse_score,
    draw=draw,
    batch=_known_batch(draw, pool, _refuse_score),
    pool=pool,
    **known,
  )
  return sampler.score(info)


@functools.partial(jax.jit, static_argnums=0)
def select(sampler, key, number, state, draw, score) -> Selection:
  return sampler.select(step_keys(key, number).select, state, draw, score)


@functools.partial(jax.jit, static_argnums=0)
def update(sampler, state, draw, feedback) -> PyTree:
  return sampler.update(state, draw, feedback)


@functools.partial(jax.jit, static_argnums=0)
def measure(sampler, key, number, draw, candidates, before, after, pool):
  """Returns the signal for losses [B]; the draw may be of M candidates.

  The losses after the update may be None, if the signal does not read them.
  """
  if candidates is not None:
    draw = selected_draw(draw, candidates.selection)
  batch = _known_batch(draw, pool, _refuse_signal)
  params, new_params = object(), object()  # compared, and not read

  def loss_fn(of: PyTree, examples: PyTree) -> Array:
    if examples is not batch:
      raise _refuse_signal("the losses of other examples")
    if of is not new_params:
      return before
    if after is None:
      text = "the sampler's signal reads the losses after the update, too; "
      raise UserError("missing", "losses", text + "pass (before, after)")
    return after

  info = make_partial(
    StepInfo,
    _refuse_signal,
    draw=draw,
    candidates=candidates,
    batch=batch,
    loss=before,
    params=params,
    new_params=new_params,
    pool=pool,
    loss_fn=loss_fn,
  )
  return sampler.signal.measure(step_keys(key, number).signal, info)


def _known_batch(
  draw: Draw, pool: Pool, refuse: Callable[[str], UserError]
) -> Batch:
  """Returns a batch without images."""
  label = pool.label[draw.index] if draw.label is None else draw.label
  return make_partial(Batch, refuse, label=label)
