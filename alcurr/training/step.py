"""One update: the fused training step.

    keys = step_keys(state.key, state.step)
    draw -> gather -> [score M, select B] -> value_and_grad -> update
         -> signal -> sampler update

All of it is one compiled program. `alcurr.training.chunks` runs many steps and
trials of it between two visits of the host.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from alcurr.bandits import gains
from alcurr.core.in_place import after_reads
from alcurr.core.promotion import standard_promotion
from alcurr.training import invariants, parallel
from alcurr.training.batches import (
  StepSpec,
  draw_batch,
  features,
  logit_grads,
)
from alcurr.training.keys import run_keys, step_keys
from alcurr.training.losses import softmax_cross_entropy
from alcurr.training.objectives import (
  add_penalty,
  make_loss_fn,
  make_objective,
  make_probe_loss_fn,
)
from alcurr.types import (
  Array,
  Augment,
  Gather,
  Loss,
  Model,
  Pool,
  PyTree,
  Sampler,
  Signal,
  StatefulLoss,
  StepContext,
  StepInfo,
  TrainState,
)

# What a step does if its numbers are not finite: continue, so that the host
# notices; or skip its update.
ON_NONFINITE = ("stop", "skip_update")


class Metrics(NamedTuple):
  """The record of a step; a chunk stacks it to [S, T, ...]."""

  loss: Array  # [] float32, weighted mean over the batch, before the update
  policy: Array | None  # [K] float32, of samplers with arms
  gain: Array  # [] float32, mean of the finite feedback
  num_gains: Array  # [] int32, numbers of feedback that were finite
  num_ignored: Array  # [] int32, and that were not
  num_scored: Array  # [] int32, candidates
  index: Array  # [B] int32, the examples trained on
  violation: Array  # [] int32, bits of `invariants.Violation`; 0 for none


class Steps(NamedTuple):
  """The parts of a run, each a pure function of (state, pool, probe, ...)."""

  # (state, pool, probe) -> what a cycle of steps is prepared with
  prepare: Callable[[TrainState, Pool, Pool], PyTree]
  # (state, pool, probe, prepared, scores=None) -> (state, metrics), with the
  # signal; `scores` says whether candidates are scored, None as the sampler
  # decides
  measured: Callable[..., tuple[TrainState, Metrics]]
  # the same without it: the steps between two signals
  plain: Callable[..., tuple[TrainState, Metrics]]
  interval: int  # steps from one signal to the next
  cycle: int  # steps that one `prepare` serves, a multiple of `interval`
  scoring_share: float = 1.0  # the share of steps that score candidates


def make_init(
  model: Model,
  tx: optax.GradientTransformation,
  sampler: Sampler,
  loss: Loss | StatefulLoss = softmax_cross_entropy,
) -> Callable[[Array, Pool], TrainState]:
  """Returns a function (key, pool) -> TrainState at step 0.

  The model's initial parameters depend on the key alone, not on the sampler:
  runs of two samplers with the same key are paired.
  """

  def init(key: Array, pool: Pool) -> TrainState:
    key_model, key_sampler, key_run = run_keys(key)
    params, model_state = model.init(key_model)
    with standard_promotion():
      opt_state = tx.init(params)
    return TrainState(
      step=jnp.int32(0),
      key=key_run,
      params=params,
      model_state=model_state,
      opt_state=opt_state,
      sampler_state=sampler.init(key_sampler, pool),
      loss_state=loss.init(pool) if isinstance(loss, StatefulLoss) else (),
    )

  return init


def make_steps(
  model: Model,
  tx: optax.GradientTransformation,
  sampler: Sampler,
  gather: Gather,
  on_nonfinite: str = "stop",
  augment: Augment | None = None,
  loss: Loss | StatefulLoss = softmax_cross_entropy,
) -> Steps:
  """Builds the fused step, with the sampler's signal and without it.

  Args:
    model: the network; its loss is taken in train mode.
    tx: the optimiser.
    sampler: chooses the batch and learns from it.
    gather: (pool, index [B]) -> Batch.
    on_nonfinite: one of ON_NONFINITE. With "skip_update", if the loss, the
      gradient or the new parameters are not finite, the parameters and the
      states of model and optimiser stay as they were, and the sampler moves
      past the batch without learning from it. If it stayed too, the next step
      would draw the same batch and fail the same way.
    augment: of the images that are trained on, and of no others.
    loss: of each example, see `alcurr.training.losses`. A stateful one must be
      that of `make_init`.
  """
  if on_nonfinite not in ON_NONFINITE:
    known = ", ".join(ON_NONFINITE)
    raise ValueError(f"on_nonfinite must be of {known}, got {on_nonfinite!r}")
  # Without a signal, one that measures nothing.
  signal = sampler.signal or Signal(lambda key, info: ())
  sampler = sampler._replace(signal=signal)
  stateful = loss if isinstance(loss, StatefulLoss) else None
  spec = StepSpec(
    model,
    tx,
    sampler,
    parallel.split_gather(gather),
    on_nonfinite,
    augment,
    stateful.measured if stateful else loss,
    stateful,
  )
  return Steps(
    prepare=functools.partial(_prepare, spec),
    measured=functools.partial(_train_step, spec, measure=True),
    plain=functools.partial(_train_step, spec, measure=False),
    interval=signal.interval,
    cycle=signal.interval * signal.prepare_interval,
    scoring_share=sampler.spec.scoring_share if sampler.is_scoring else 1.0,
  )


def _prepare(spec: StepSpec, state: TrainState, pool: Pool, probe: Pool):
  """Prepares the signal of a cycle of steps."""
  signal = spec.sampler.signal
  if signal.prepare is None:
    return ()
  with jax.named_scope("prepare"):
    keys = step_keys(state.key, state.step)
    loss_fn = make_probe_loss_fn(spec, keys.model, state.model_state)
    context = StepContext(state.params, probe, loss_fn, spec.gather)
    return signal.prepare(keys.prepare, context)


def _train_step(
  spec: StepSpec,
  state: TrainState,
  pool: Pool,
  probe: Pool,
  prepared: PyTree,
  measure: bool,
  scores: bool | None = None,
) -> tuple[TrainState, Metrics]:
  """Does one update, with the signal if `measure`; see `draw_batch`."""
  keys = step_keys(state.key, state.step)
  draw, batch, candidates = draw_batch(
    spec, keys, state, pool, prepared, scores
  )
  loss_fn = make_loss_fn(spec, keys.model, state.model_state)
  objective = make_objective(spec, keys.model, state, draw, batch)
  with jax.named_scope("forward_backward"):
    grads, forward = jax.grad(objective, has_aux=True)(state.params)
    # The gains read the gradient of the loss alone.
    descent = add_penalty(spec.model, state.params, grads, pool)
  with jax.named_scope("optimizer"):
    with standard_promotion():
      updates, opt_state = spec.tx.update(
        descent, state.opt_state, state.params
      )
    new_params = optax.apply_updates(state.params, updates)
  info = StepInfo(
    draw=draw,
    candidates=candidates,
    batch=batch,
    logits=forward.logits,
    loss=forward.loss,
    params=state.params,
    new_params=new_params,
    grads=grads,
    updates=updates,
    pool=pool,
    probe=probe,
    loss_fn=loss_fn,
    gather=spec.gather,
    # The primal is the training forward pass again, and compiles to it.
    loss_jvp=lambda tangent: jax.jvp(
      lambda params: loss_fn(params, batch), (state.params,), (tangent,)
    )[1],
    logit_grads=lambda: logit_grads(spec.loss, forward.logits, batch),
    features=lambda: features(spec.model, state, batch),
    predict=lambda batch: spec.model.apply(
      keys.model, new_params, forward.model_state, batch.inputs, train=False
    )[0],
    penalty=spec.model.penalty,
    prepared=prepared,
  )
  with jax.named_scope("signal"):
    feedback = spec.sampler.signal.measure(keys.signal, info) if measure else ()
    feedback = parallel.replicate(feedback)
  drawn = candidates.draw if candidates else draw
  update = jax.named_scope("sampler_update")(spec.sampler.update)
  if spec.sampler.spec.per_example_state:
    index = after_reads(drawn.index, drawn.prob, drawn.weight)
    drawn = drawn._replace(index=index)
  new_state = TrainState(
    step=state.step + 1,
    key=state.key,
    params=new_params,
    model_state=forward.model_state,
    opt_state=opt_state,
    sampler_state=update(state.sampler_state, drawn, feedback),
    loss_state=forward.loss_state,
  )
  with jax.named_scope("invariants"):
    violation = invariants.check_draw(
      spec.sampler, state.sampler_state, pool, draw, batch
    ) | invariants.check_numbers(forward.mean_loss, descent, new_params)
  if spec.on_nonfinite == "skip_update":
    sampler_state = update(state.sampler_state, drawn, ())
    skipped = state._replace(step=state.step + 1, sampler_state=sampler_state)
    bad = (violation & invariants.NOT_FINITE.value) != 0
    new_state = jax.tree.map(
      lambda new, old: jnp.where(bad, old, new), new_state, skipped
    )
  new_state = parallel.replicate(new_state)
  gain, num_gains, num_ignored = gains.summarize_feedback(feedback)
  num_scored = jnp.int32(0)
  if candidates is not None:
    size = candidates.draw.index.shape[0]
    num_scored = jnp.where(candidates.is_scored, jnp.int32(size), 0)
  return new_state, Metrics(
    loss=forward.mean_loss,
    policy=draw.policy,
    gain=gain,
    num_gains=num_gains,
    num_ignored=num_ignored,
    num_scored=num_scored,
    index=draw.index,
    violation=violation,
  )
