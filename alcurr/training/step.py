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

from alcurr.training import invariants
from alcurr.training.losses import softmax_cross_entropy
from alcurr.types import (
  Array,
  Augment,
  Batch,
  Candidates,
  Draw,
  Feedback,
  Loss,
  Model,
  Pool,
  PyTree,
  Sampler,
  Signal,
  StepContext,
  StepInfo,
  StepKeys,
  TrainState,
)

# What a step does if its numbers are not finite: continue, so that the host
# notices; or skip its update.
ON_NONFINITE = ("stop", "skip_update")

# The scopes that name a step's operations in its program, in their order. None
# is also the name of an operation, such as gather.
SCOPES = (
  *("prepare", "draw", "gather_batch", "select", "forward_backward"),
  *("optimizer", "signal", "sampler_update", "invariants"),
)

# (pool, index [b]) -> Batch
Gather = Callable[[Pool, Array], Batch]


class Metrics(NamedTuple):
  """The record of a step; a chunk stacks it to [S, T, ...]."""

  loss: Array  # [] float32, weighted mean over the batch, before the update
  policy: Array | None  # [K] float32, of samplers with arms
  gain: Array  # [] float32, mean feedback; NaN if none was measured
  index: Array  # [B] int32, the examples trained on
  violation: Array  # [] int32, bits of `invariants.Violation`; 0 for none


class Steps(NamedTuple):
  """The parts of a run, each a pure function of (state, pool, probe, ...)."""

  # (state, pool, probe) -> what a cycle of steps is prepared with
  prepare: Callable[[TrainState, Pool, Pool], PyTree]
  # (state, pool, probe, prepared) -> (state, metrics), with the signal
  measured: Callable[..., tuple[TrainState, Metrics]]
  # the same without it: the steps between two signals
  plain: Callable[..., tuple[TrainState, Metrics]]
  interval: int  # steps from one signal to the next
  cycle: int  # steps that one `prepare` serves, a multiple of `interval`

  def shares(self) -> dict[Callable, float]:
    """Returns how often each part runs, per step."""
    return {
      self.prepare: 1 / self.cycle,
      self.measured: 1 / self.interval,
      self.plain: 1 - 1 / self.interval,
    }


def run_keys(key: Array) -> Array:
  """Splits a run's key: initial parameters, initial sampler state, steps."""
  return jax.random.split(key, 3)


def step_keys(key: Array, step: Array | int) -> StepKeys:
  """Returns the keys of a step.

  Args:
    key: of the run's steps, see `run_keys`.
    step: its number, from 0.
  """
  keys = jax.random.split(jax.random.fold_in(key, step), len(StepKeys._fields))
  return StepKeys(*keys)


def make_init(
  model: Model, tx: optax.GradientTransformation, sampler: Sampler
) -> Callable[[Array, Pool], TrainState]:
  """Returns a function (key, pool) -> TrainState at step 0.

  The model's initial parameters depend on the key alone, not on the sampler:
  runs of two samplers with the same key are paired.
  """

  def init(key: Array, pool: Pool) -> TrainState:
    key_model, key_sampler, key_run = run_keys(key)
    params, model_state = model.init(key_model)
    return TrainState(
      step=jnp.int32(0),
      key=key_run,
      params=params,
      model_state=model_state,
      opt_state=tx.init(params),
      sampler_state=sampler.init(key_sampler, pool),
    )

  return init


class _StepSpec(NamedTuple):
  """The arguments of `make_steps`."""

  model: Model
  tx: optax.GradientTransformation
  sampler: Sampler
  gather: Gather
  on_nonfinite: str
  augment: Augment | None
  loss: Loss

  @property
  def signal(self) -> Signal:
    """The sampler's signal, or one that measures nothing."""
    return self.sampler.signal or Signal(lambda key, info: ())


def make_steps(
  model: Model,
  tx: optax.GradientTransformation,
  sampler: Sampler,
  gather: Gather,
  on_nonfinite: str = "stop",
  augment: Augment | None = None,
  loss: Loss = softmax_cross_entropy,
) -> Steps:
  """Builds the fused step, with the sampler's signal and without it.

  Args:
    model: the network; its loss is taken in train mode.
    tx: the optimiser.
    sampler: chooses the batch and learns from it.
    gather: (pool, index [B]) -> Batch.
    on_nonfinite: one of ON_NONFINITE. With "skip_update", if the loss, the
      gradient, the new parameters or the gain are not finite, the parameters
      and the states of model and optimiser stay as they were, and the sampler
      moves past the batch without learning from it. If it stayed too, the
      next step would draw the same batch and fail the same way.
    augment: of the images that are trained on, and of no others; see
      `alcurr.data.augment`.
    loss: of each example, see `alcurr.training.losses`.
  """
  if on_nonfinite not in ON_NONFINITE:
    raise ValueError(
      f"on_nonfinite must be one of {', '.join(ON_NONFINITE)}, "
      f"got {on_nonfinite!r}"
    )
  spec = _StepSpec(model, tx, sampler, gather, on_nonfinite, augment, loss)
  signal = spec.signal
  return Steps(
    prepare=functools.partial(_prepare, spec),
    measured=functools.partial(_train_step, spec, measure=True),
    plain=functools.partial(_train_step, spec, measure=False),
    interval=signal.interval,
    cycle=signal.interval * signal.prepare_interval,
  )


class _Forward(NamedTuple):
  """The forward pass in train mode, always with the same key and state."""

  # (params, batch) -> losses [B], (logits [B, V], model state)
  losses: Callable[[PyTree, Batch], tuple[Array, tuple[Array, PyTree]]]
  # (params, batch) -> losses [B]; drops the running statistics
  loss_fn: Callable[[PyTree, Batch], Array]


def _make_forward(spec: _StepSpec, key: Array, model_state: PyTree) -> _Forward:
  def losses(params: PyTree, batch: Batch):
    logits, new_state = spec.model.apply(
      key, params, model_state, batch.image, train=True
    )
    return spec.loss(logits, batch.label), (logits, new_state)

  return _Forward(losses, lambda params, batch: losses(params, batch)[0])


def _prepare(
  spec: _StepSpec, state: TrainState, pool: Pool, probe: Pool
) -> PyTree:
  """Prepares the signal of a cycle of steps."""
  signal = spec.signal
  if signal.prepare is None:
    return ()
  with jax.named_scope("prepare"):
    keys = step_keys(state.key, state.step)
    forward = _make_forward(spec, keys.model, state.model_state)
    context = StepContext(state.params, probe, forward.loss_fn, spec.gather)
    return signal.prepare(keys.prepare, context)


def _draw_batch(
  spec: _StepSpec, keys: StepKeys, state: TrainState, pool: Pool
) -> tuple[Draw, Batch, Candidates | None]:
  """Draws the batch to train on; candidates' images are gathered once."""
  with jax.named_scope("draw"):
    draw = spec.sampler.sample(keys.draw, state.sampler_state, pool)
  with jax.named_scope("gather_batch"):
    batch = spec.gather(pool, draw.index)
    if draw.label is not None:
      batch = batch._replace(label=draw.label)
  candidates = None
  if spec.sampler.spec.num_candidates is not None:
    with jax.named_scope("select"):
      draw, batch, candidates = _select(spec, keys, state, draw, batch)
  if spec.augment is not None:
    with jax.named_scope("gather_batch"):
      image = spec.augment(keys.augment, batch.image)
      batch = batch._replace(image=image)
  return draw, batch, candidates


def _select(
  spec: _StepSpec,
  keys: StepKeys,
  state: TrainState,
  draw: Draw,
  batch: Batch,
) -> tuple[Draw, Batch, Candidates]:
  """Scores M candidates in eval mode and keeps the B selected."""
  logits, _ = spec.model.apply(
    keys.model, state.params, state.model_state, batch.image, train=False
  )
  score = spec.sampler.score(logits, batch.label)
  selection = spec.sampler.select(keys.select, state.sampler_state, draw, score)
  chosen = jax.tree.map(
    lambda leaf: leaf[selection.slots], draw._replace(policy=None)
  )._replace(weight=selection.weight, policy=draw.policy)
  batch = jax.tree.map(lambda leaf: leaf[selection.slots], batch)
  return chosen, batch, Candidates(draw, score, selection)


def mean_feedback(feedback: PyTree) -> Array | None:
  """Returns one number to log for a feedback, [] float32; None without one.

  The mean gain, or the mean over all numbers of any other feedback.
  """
  if isinstance(feedback, Feedback):
    return feedback.gain.mean()
  leaves = [
    leaf.astype(jnp.float32).reshape(-1)
    for leaf in jax.tree.leaves(feedback)
    if leaf.size
  ]
  return jnp.concatenate(leaves).mean() if leaves else None


def _train_step(
  spec: _StepSpec,
  state: TrainState,
  pool: Pool,
  probe: Pool,
  prepared: PyTree,
  measure: bool,
) -> tuple[TrainState, Metrics]:
  """Does one update, with the signal if `measure`."""
  keys = step_keys(state.key, state.step)
  draw, batch, candidates = _draw_batch(spec, keys, state, pool)
  forward = _make_forward(spec, keys.model, state.model_state)

  def objective(params: PyTree):
    loss, aux = forward.losses(params, batch)
    return (draw.weight * loss).mean(), (loss, *aux)

  with jax.named_scope("forward_backward"):
    (mean_loss, (loss, logits, model_state)), grads = jax.value_and_grad(
      objective, has_aux=True
    )(state.params)
  with jax.named_scope("optimizer"):
    updates, opt_state = spec.tx.update(grads, state.opt_state, state.params)
    new_params = optax.apply_updates(state.params, updates)
  info = StepInfo(
    draw=draw,
    candidates=candidates,
    batch=batch,
    logits=logits,
    loss=loss,
    params=state.params,
    new_params=new_params,
    grads=grads,
    updates=updates,
    pool=pool,
    probe=probe,
    loss_fn=forward.loss_fn,
    gather=spec.gather,
    # The primal is the training forward pass again, and compiles to it.
    loss_jvp=lambda tangent: jax.jvp(
      lambda params: forward.loss_fn(params, batch), (state.params,), (tangent,)
    )[1],
    predict=lambda batch: spec.model.apply(
      keys.model, new_params, model_state, batch.image, train=False
    )[0],
    prepared=prepared,
  )
  with jax.named_scope("signal"):
    feedback = spec.signal.measure(keys.signal, info) if measure else ()
  new_state = TrainState(
    step=state.step + 1,
    key=state.key,
    params=new_params,
    model_state=model_state,
    opt_state=opt_state,
    sampler_state=_update_sampler(spec, state, info, feedback),
  )
  gain = mean_feedback(feedback)
  violation = _check(spec, state, info, mean_loss, gain)
  if spec.on_nonfinite == "skip_update":
    new_state = _skip_if_not_finite(spec, state, new_state, info, violation)
  return new_state, Metrics(
    loss=mean_loss,
    policy=draw.policy,
    gain=jnp.float32(jnp.nan if gain is None else gain),
    index=draw.index,
    violation=violation,
  )


def _update_sampler(
  spec: _StepSpec, state: TrainState, info: StepInfo, feedback: PyTree
) -> PyTree:
  """Returns the sampler's state after the draw that it made."""
  drawn = info.candidates.draw if info.candidates else info.draw
  with jax.named_scope("sampler_update"):
    return spec.sampler.update(state.sampler_state, drawn, feedback)


def _check(
  spec: _StepSpec,
  state: TrainState,
  info: StepInfo,
  mean_loss: Array,
  gain: Array | None,
) -> Array:
  """Returns the bits of the invariants that a step violates, [] int32."""
  with jax.named_scope("invariants"):
    return invariants.check_draw(
      spec.sampler, state.sampler_state, info.pool, info.draw, info.batch
    ) | invariants.check_numbers(mean_loss, info.grads, info.new_params, gain)


def _skip_if_not_finite(
  spec: _StepSpec,
  state: TrainState,
  new_state: TrainState,
  info: StepInfo,
  violation: Array,
) -> TrainState:
  """Returns the state without the update if its numbers are not finite."""
  skipped = state._replace(
    step=state.step + 1, sampler_state=_update_sampler(spec, state, info, ())
  )
  bad = (violation & invariants.NOT_FINITE.value) != 0
  return jax.tree.map(
    lambda new, old: jnp.where(bad, old, new), new_state, skipped
  )
