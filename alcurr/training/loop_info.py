"""The records that a sampler may look at, in a training loop of your own.

It is made of the functions and trees that the loop has; the use of anything
else is refused with the name of the argument to pass.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from alcurr.training.batches import logit_grads
from alcurr.training.partial_info import make_partial
from alcurr.types import (
  Array,
  Batch,
  CandidateInfo,
  Candidates,
  Draw,
  Gather,
  Loss,
  Pool,
  PyTree,
  StepContext,
  StepInfo,
)

# The arguments that a message names, by the field that a sampler reads.
_ARGUMENTS = {
  "features": "features to make_hooks",
  "grads": "grads to end",
  "logit_grads": "logits to make_hooks",
  "logits": "logits to make_hooks",
  "penalty": "penalty to make_hooks",
  "predict": "logits to make_hooks",
  "probe": "probe to begin",
}


class HookState(NamedTuple):
  """The part of a loop's state that is the sampler's; checkpoint it too."""

  step: Array  # [] int32
  key: Array  # [] PRNG key
  sampler_state: PyTree
  prepared: PyTree  # what the signal's `prepare` returned last, if it is kept


class OpenStep(NamedTuple):
  """A step between `begin` and `end`."""

  draw: Draw  # of the B examples to train on
  batch: Batch  # these examples
  candidates: Candidates | None  # that they were selected from
  prepared: PyTree
  # The arguments of `begin`.
  state: HookState
  params: PyTree
  pool: Pool
  probe: Pool | None
  extra: tuple[PyTree, ...]


class Functions(NamedTuple):
  """The arguments of `make_hooks`."""

  losses: Callable[..., Array]
  gather: Gather
  logits: Callable[..., Array] | None
  features: Callable[..., Array] | None
  scoring_losses: Callable[..., Array]
  logit_loss: Loss
  penalty: Callable[[PyTree], Array] | None = None


def _refuse(name: str) -> ValueError:
  argument = _ARGUMENTS.get(name, name)
  return ValueError(f"the sampler reads {name}; pass {argument}")


def make_context(
  functions: Functions,
  params: PyTree,
  probe: Pool | None,
  extra: tuple[PyTree, ...],
) -> StepContext:
  """Returns what a signal may prepare from."""
  known = {} if probe is None else {"probe": probe}
  return make_partial(
    StepContext,
    _refuse,
    params=params,
    loss_fn=_bind(functions.losses, extra),
    gather=functions.gather,
    **known,
  )


def _bind(
  function: Callable[..., Array], extra: tuple[PyTree, ...]
) -> Callable[[PyTree, Batch], Array]:
  return lambda params, batch: function(params, batch, *extra)


def _jvp(
  losses: Callable[[PyTree, Batch], Array], params: PyTree, batch: Batch
) -> Callable[[PyTree], Array]:
  """Returns the derivative of losses [b] along a tangent."""
  return lambda tangent: jax.jvp(
    lambda params: losses(params, batch), (params,), (tangent,)
  )[1]


def _outputs(
  functions: Functions,
  params: PyTree,
  batch: Batch,
  extra: tuple[PyTree, ...],
) -> dict[str, Any]:
  """Returns the fields of the logits and features, as far as there are any."""
  known = {}
  if functions.logits is not None:
    logits = functions.logits(params, batch, *extra)
    known["logits"] = logits
    known["logit_grads"] = lambda: logit_grads(
      functions.logit_loss, logits, batch
    )
  if functions.features is not None:
    known["features"] = lambda: functions.features(params, batch, *extra)
  return known


def make_candidate_info(
  functions: Functions,
  params: PyTree,
  pool: Pool,
  extra: tuple[PyTree, ...],
  prepared: PyTree,
  draw: Draw,
  batch: Batch,
) -> CandidateInfo:
  """Returns what a score may look at, of M candidates."""
  losses = _bind(functions.scoring_losses, extra)
  return make_partial(
    CandidateInfo,
    _refuse,
    draw=draw,
    batch=batch,
    loss=losses(params, batch),
    pool=pool,
    loss_jvp=_jvp(losses, params, batch),
    prepared=prepared,
    **_outputs(functions, params, batch, extra),
  )


def make_step_info(
  functions: Functions,
  step: OpenStep,
  new_params: PyTree,
  grads: PyTree | None,
  updates: PyTree | None,
) -> StepInfo:
  """Returns what a signal may look at after an update."""
  losses = _bind(functions.losses, step.extra)
  known = _outputs(functions, step.params, step.batch, step.extra)
  if updates is None:
    updates = jax.tree.map(jnp.subtract, new_params, step.params)
  if functions.logits is not None:
    logits = _bind(functions.logits, step.extra)
    known["predict"] = lambda batch: logits(new_params, batch)
  if functions.penalty is not None:
    known["penalty"] = functions.penalty
  if grads is not None:
    known["grads"] = grads
  if step.probe is not None:
    known["probe"] = step.probe
  return make_partial(
    StepInfo,
    _refuse,
    draw=step.draw,
    candidates=step.candidates,
    batch=step.batch,
    loss=losses(step.params, step.batch),
    params=step.params,
    new_params=new_params,
    updates=updates,
    pool=step.pool,
    loss_fn=losses,
    gather=functions.gather,
    loss_jvp=_jvp(losses, step.params, step.batch),
    prepared=step.prepared,
    **known,
  )
