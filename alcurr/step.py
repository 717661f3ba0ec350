"""One update: the fused training step, and chunks of it.

    key = fold_in(state.key, state.step)
    draw -> gather -> value_and_grad -> update -> signal -> sampler update

All in one compiled program; a loop does T steps and S trials ride along, so
that the host is touched once a chunk.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from alcurr import laws
from alcurr.losses import softmax_cross_entropy
from alcurr.types import (
  Array,
  Augment,
  Batch,
  Feedback,
  Loss,
  Model,
  Pool,
  PyTree,
  Sampler,
  Situation,
  TrainState,
  Transition,
)

# What a step does where its numbers are not finite: go on, so that the host
# sees it; or leave its update out.
ON_NONFINITE = ("stop", "skip_update")

# The scopes that name a step's operations in its program, as they follow one
# another. None is also the name of an operation, such as gather.
SCOPES = (
  *("prepare", "draw", "gather_batch", "forward_backward", "optimizer"),
  *("signal", "sampler_update", "laws"),
)


class Metrics(NamedTuple):
  """What is known of a step; stacked to [S, T, ...] by a chunk."""

  loss: Array  # [] float32, weighted mean over the batch, before the update
  policy: Array  # [K] float32
  gain: Array  # [] float32, mean feedback; NaN where none was measured
  index: Array  # [B] int32, the examples drawn
  wrong: Array  # [] int32, the bits of `laws.Wrong`; 0 where all is well


class Steps(NamedTuple):
  """The parts of a run, each a pure function of (state, pool, probe, ...)."""

  # (state, pool, probe) -> what a cycle of steps is prepared with
  prepare: Callable[[TrainState, Pool, Pool], PyTree]
  # (state, pool, probe, prepared) -> (state, metrics), with the signal
  measured: Callable[..., tuple[TrainState, Metrics]]
  # the same without it: the steps between two signals
  plain: Callable[..., tuple[TrainState, Metrics]]
  every: int  # steps from one signal to the next
  cycle: int  # steps that one `prepare` serves, a multiple of `every`

  def shares(self) -> dict[Callable, float]:
    """How often each part runs, per step."""
    return {
      self.prepare: 1 / self.cycle,
      self.measured: 1 / self.every,
      self.plain: 1 - 1 / self.every,
    }


def run_keys(key: Array) -> Array:
  """Of a run's initial parameters, its sampler's initial state, its steps."""
  return jax.random.split(key, 3)


def step_keys(key: Array, number: Array | int) -> Array:
  """Of a step's draw, model, signal, preparation and augmentation.

  Args:
    key: of the run's steps, see `run_keys`.
    number: the step's, from 0.
  """
  return jax.random.split(jax.random.fold_in(key, number), 5)


def make_init(
  model: Model, tx: optax.GradientTransformation, sampler: Sampler
) -> Callable[[Array, Pool], TrainState]:
  """A function (key, pool) -> TrainState at step 0.

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


# (params, batch) -> the losses [B], and the model state after.
Losses = Callable[[PyTree, Batch], tuple[Array, PyTree]]


def _make_losses(
  model: Model, loss: Loss, key: Array, model_state: PyTree
) -> Losses:
  """The losses in train mode, always with the same key and state."""

  def losses(params: PyTree, batch: Batch) -> tuple[Array, PyTree]:
    logits, new_state = model.apply(
      key, params, model_state, batch.image, train=True
    )
    return loss(logits, batch.label), new_state

  return losses


def _situation(
  losses: Losses,
  params: PyTree,
  probe: Pool,
  gather: Callable[[Pool, Array], Batch],
) -> Situation:
  # The running statistics of what a signal looks at are dropped.
  return Situation(
    params, probe, lambda params, batch: losses(params, batch)[0], gather
  )


def make_steps(
  model: Model,
  tx: optax.GradientTransformation,
  sampler: Sampler,
  gather: Callable[[Pool, Array], Batch],
  on_nonfinite: str = "stop",
  augment: Augment | None = None,
  loss: Loss = softmax_cross_entropy,
) -> Steps:
  """The fused step, with the sampler's signal and without it.

  Args:
    model: the network; its loss is taken in train mode.
    tx: the optimiser.
    sampler: chooses the batch and learns from it.
    gather: (pool, index [B]) -> Batch.
    on_nonfinite: one of ON_NONFINITE. "skip_update": where the loss, the
      gradient, the parameters after it or the gain are not finite, the params,
      the model's and the optimiser's state stay as they were, and the sampler
      goes past the batch without learning from it. If it stayed as well, the
      next step would draw the same batch and fail the same way.
    augment: of the images that are trained on, and of no others; see
      `alcurr.data.augment`.
    loss: of each example, see `alcurr.losses`.
  """
  if on_nonfinite not in ON_NONFINITE:
    raise ValueError(
      f"on_nonfinite must be one of {', '.join(ON_NONFINITE)}, "
      f"got {on_nonfinite!r}"
    )

  losses_with = functools.partial(_make_losses, model, loss)

  def prepare(state: TrainState, pool: Pool, probe: Pool) -> PyTree:
    with jax.named_scope("prepare"):
      _, key_model, _, key_prepare, _ = step_keys(state.key, state.step)
      losses = losses_with(key_model, state.model_state)
      here = _situation(losses, state.params, probe, gather)
      return sampler.prepare(key_prepare, here)

  def train_step(
    state: TrainState, pool: Pool, probe: Pool, prepared: PyTree, measure: bool
  ) -> tuple[TrainState, Metrics]:
    with jax.named_scope("draw"):
      keys = step_keys(state.key, state.step)
      key_draw, key_model, key_signal, _, key_augment = keys
      draw = sampler.sample(key_draw, state.sampler_state, pool)
    with jax.named_scope("gather_batch"):
      batch = gather(pool, draw.index)
      if augment is not None:
        batch = batch._replace(image=augment(key_augment, batch.image))
    losses = losses_with(key_model, state.model_state)
    here = _situation(losses, state.params, probe, gather)

    def objective(params: PyTree):
      loss, model_state = losses(params, batch)
      return (draw.weight * loss).mean(), (loss, model_state)

    with jax.named_scope("forward_backward"):
      (mean_loss, (loss, model_state)), grads = jax.value_and_grad(
        objective, has_aux=True
      )(state.params)
    with jax.named_scope("optimizer"):
      updates, opt_state = tx.update(grads, state.opt_state, state.params)
      new_params = optax.apply_updates(state.params, updates)
    transition = Transition(
      situation=here,
      draw=draw,
      batch=batch,
      loss=loss,
      new_params=new_params,
      grads=grads,
      updates=updates,
      pool=pool,
      # The primal is the training forward again, and compiles to it.
      loss_along=lambda tangent: jax.jvp(
        lambda params: here.loss_fn(params, batch), (state.params,), (tangent,)
      )[1],
      predict=lambda batch: model.apply(
        key_model, new_params, model_state, batch.image, train=False
      )[0],
      prepared=prepared,
    )
    with jax.named_scope("signal"):
      feedback = sampler.signal(key_signal, transition) if measure else ()
    with jax.named_scope("sampler_update"):
      sampler_state = sampler.update(state.sampler_state, draw, feedback)
    gain = feedback.gain.mean() if isinstance(feedback, Feedback) else None
    with jax.named_scope("laws"):
      wrong = laws.draw_wrong(sampler, state.sampler_state, pool, draw, batch)
      wrong |= laws.numbers_wrong(mean_loss, grads, new_params, gain)
    new_state = TrainState(
      step=state.step + 1,
      key=state.key,
      params=new_params,
      model_state=model_state,
      opt_state=opt_state,
      sampler_state=sampler_state,
    )
    if on_nonfinite == "skip_update":
      skipped = state._replace(
        step=state.step + 1,
        sampler_state=sampler.update(state.sampler_state, draw, ()),
      )
      bad = (wrong & laws.NOT_FINITE.value) != 0
      new_state = jax.tree.map(
        lambda new, old: jnp.where(bad, old, new), new_state, skipped
      )
    return new_state, Metrics(
      loss=mean_loss,
      policy=draw.policy,
      gain=jnp.float32(jnp.nan if gain is None else gain),
      index=draw.index,
      wrong=wrong,
    )

  return Steps(
    prepare=prepare,
    measured=functools.partial(train_step, measure=True),
    plain=functools.partial(train_step, measure=False),
    every=sampler.every,
    cycle=sampler.every * sampler.refresh,
  )


def make_train_chunk(
  steps: Steps, most_steps: int, trials_by: str
) -> Callable[[TrainState, Array, Pool, Pool], tuple[TrainState, Metrics]]:
  """Many steps of S trials in one program.

  The steps that measure and those that do not are loops within loops, so that
  no step holds a branch.

  Args:
    steps: the parts of one trial.
    most_steps: T, of which a call may do fewer: a run whose last chunk is
      short needs no second program. All chunks but a run's last must be whole
      cycles.
    trials_by: "vmap", all trials in each operation; or "map", one trial after
      the other, still in one program.

  Returns:
    A function (state [S], num_steps, pool, probe) -> (state, metrics [S, T]);
    the metrics past num_steps are zeros.
  """

  def chunk(state: TrainState, num_steps: Array, pool: Pool, probe: Pool):
    def run(step: Callable, prepared: PyTree, i: Array, carry):
      state, every = carry
      state, one = step(state, pool, probe, prepared)
      return state, jax.tree.map(lambda x, y: x.at[i].set(y), every, one)

    def signal_and_rest(prepared: PyTree, first: Array, carry):
      """The steps of one signal: `first`, which has it, to the next one's."""
      carry = run(steps.measured, prepared, first, carry)
      if steps.every == 1:
        return carry
      end = jnp.minimum(first + steps.every, num_steps)
      plain = functools.partial(run, steps.plain, prepared)
      return jax.lax.fori_loop(first + 1, end, plain, carry)

    def cycle(number: Array, carry):
      first = number * steps.cycle
      prepared = steps.prepare(carry[0], pool, probe)
      if steps.cycle == steps.every:
        return signal_and_rest(prepared, first, carry)
      length = jnp.minimum(steps.cycle, num_steps - first)
      return jax.lax.fori_loop(
        0,
        -(-length // steps.every),
        lambda i, carry: signal_and_rest(
          prepared, first + i * steps.every, carry
        ),
        carry,
      )

    _, one = jax.eval_shape(
      steps.measured,
      state,
      pool,
      probe,
      jax.eval_shape(steps.prepare, state, pool, probe),
    )
    every = jax.tree.map(
      lambda x: jnp.zeros((most_steps, *x.shape), x.dtype), one
    )
    num_cycles = -(-num_steps // steps.cycle)
    return jax.lax.fori_loop(0, num_cycles, cycle, (state, every))

  return over_trials(chunk, trials_by)


def over_trials(fun: Callable, trials_by: str) -> Callable:
  """`fun(state, ...)` for a state with a leading axis of trials [S].

  The other arguments are shared by the trials.
  """
  if trials_by not in ("vmap", "map"):
    raise ValueError(f"trials_by must be 'vmap' or 'map', got {trials_by!r}")

  def all_trials(state: PyTree, *shared: PyTree) -> PyTree:
    if trials_by == "vmap":
      return jax.vmap(lambda s: fun(s, *shared))(state)
    return jax.lax.map(lambda s: fun(s, *shared), state)

  return all_trials
