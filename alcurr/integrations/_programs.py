"""A sampler's functions, each compiled once for all streams."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

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
# The arguments of `select` and `update`, by the field that a sampler reads.
_ARGUMENTS = {
  "loss": "losses",
  "logits": "logits",
  "logit_grads": "logit_grads",
  "features": "features",
}


def _refuse_signal(name: str) -> UserError:
  text = f"the sampler's signal reads {name}, which only the loop knows; "
  if name in _ARGUMENTS:
    text += f"pass {_ARGUMENTS[name]} of each example; {_PAGE}"
    return UserError("missing", "update", text)
  text += "measure it there and call update(gains=...) for gains of each "
  text += f"example, or update(feedback=...); {_PAGE}"
  return UserError("unsupported", "update", text)


def _refuse_score(name: str) -> UserError:
  text = f"the sampler's score reads {name}, which only the loop knows; "
  if name in _ARGUMENTS:
    text += f"pass {_ARGUMENTS[name]} of each candidate; {_PAGE}"
    return UserError("missing", "select", text)
  text += "compute the score there and pass it as score, an array or PyTree "
  text += f"with a leading axis of the candidates; {_PAGE}"
  return UserError("unsupported", "select", text)


def _known_fields(known: Mapping[str, Array]) -> dict[str, Any]:
  """Returns fields of a CandidateInfo or StepInfo, from a loop's arguments."""
  fields = {}
  for field, argument in _ARGUMENTS.items():
    if argument in known:
      fields[field] = known[argument]
  for field in fields.keys() & {"logit_grads", "features"}:
    fields[field] = functools.partial(lambda array: array, fields[field])
  return fields


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
def score(sampler, draw, known, pool) -> PyTree:
  """Returns the scores of M candidates from what is known of them, by name."""
  fields = _known_fields(known)
  if sampler.signal is None or sampler.signal.prepare is None:
    fields["prepared"] = ()
  batch = _known_batch(draw, pool, _refuse_score)
  info = make_partial(
    CandidateInfo, _refuse_score, draw=draw, batch=batch, pool=pool, **fields
  )
  return sampler.score(info)


@functools.partial(jax.jit, static_argnums=0)
def select(sampler, key, number, state, draw, score) -> Selection:
  return sampler.select(step_keys(key, number).select, state, draw, score)


@functools.partial(jax.jit, static_argnums=0)
def update(sampler, state, draw, feedback) -> PyTree:
  return sampler.update(state, draw, feedback)


@functools.partial(jax.jit, static_argnums=0)
def measure(sampler, key, number, draw, candidates, known, pool) -> PyTree:
  """Returns the signal from what is known of B examples, by name.

  That is arguments of `update`, and "after", the losses after it. The draw may
  be of M candidates.
  """
  if candidates is not None:
    draw = selected_draw(draw, candidates.selection)
  batch = _known_batch(draw, pool, _refuse_signal)
  params, new_params = object(), object()  # compared, and not read

  def loss_fn(of: PyTree, examples: PyTree) -> Array:
    if examples is not batch:
      raise _refuse_signal("the losses of other examples")
    if of is not new_params:
      return info.loss
    if "after" not in known:
      text = "the sampler's signal reads the losses after the update, too; "
      raise UserError("missing", "losses", text + "pass (before, after)")
    return known["after"]

  info = make_partial(
    StepInfo,
    _refuse_signal,
    draw=draw,
    candidates=candidates,
    batch=batch,
    params=params,
    new_params=new_params,
    pool=pool,
    loss_fn=loss_fn,
    **_known_fields(known),
  )
  return sampler.signal.measure(step_keys(key, number).signal, info)


def _known_batch(
  draw: Draw, pool: Pool, refuse: Callable[[str], UserError]
) -> Batch:
  """Returns a batch without images."""
  label = pool.label[draw.index] if draw.label is None else draw.label
  return make_partial(Batch, refuse, label=label)
