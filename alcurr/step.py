"""One update: the fused training step, and chunks of it.

    key = fold_in(state.key, state.step)
    draw -> gather -> value_and_grad -> update -> signal -> sampler update

All in one compiled program; a loop does T steps and S trials ride along, so
that the host is touched once a chunk.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from alcurr.types import (
  Array,
  Batch,
  Feedback,
  Model,
  Pool,
  PyTree,
  Sampler,
  TrainState,
  Transition,
)


class Metrics(NamedTuple):
  """What is known of a step; stacked to [S, T, ...] by a chunk."""

  loss: Array  # [] float32, weighted mean over the batch, before the update
  policy: Array  # [K] float32
  gain: Array | tuple[()]  # [] float32, mean feedback; () for an open loop


TrainStep = Callable[[TrainState, Pool, Pool], tuple[TrainState, Metrics]]


def make_init(
  model: Model, tx: optax.GradientTransformation, sampler: Sampler
) -> Callable[[Array, Pool], TrainState]:
  """A function (key, pool) -> TrainState at step 0.

  The model's initial parameters depend on the key alone, not on the sampler:
  runs of two samplers with the same key are paired.
  """

  def init(key: Array, pool: Pool) -> TrainState:
    key_model, key_sampler, key_run = jax.random.split(key, 3)
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


def make_train_step(
  model: Model,
  tx: optax.GradientTransformation,
  sampler: Sampler,
  gather: Callable[[Pool, Array], Batch],
) -> TrainStep:
  """The fused step: (state, pool, valid) -> (state, metrics).

  Args:
    model: the network; its loss is the cross-entropy, in train mode.
    tx: the optimiser.
    sampler: chooses the batch and learns from it.
    gather: (pool, index [B]) -> Batch.
  """

  def train_step(
    state: TrainState, pool: Pool, valid: Pool
  ) -> tuple[TrainState, Metrics]:
    key = jax.random.fold_in(state.key, state.step)
    key_draw, key_model, key_signal = jax.random.split(key, 3)
    draw = sampler.sample(key_draw, state.sampler_state, pool)
    batch = gather(pool, draw.index)

    def losses(params: PyTree, batch: Batch) -> tuple[Array, PyTree]:
      logits, model_state = model.apply(
        key_model, params, state.model_state, batch.image, train=True
      )
      loss = optax.softmax_cross_entropy_with_integer_labels(
        logits, batch.label
      )
      return loss, model_state

    def objective(params: PyTree):
      loss, model_state = losses(params, batch)
      return (draw.weight * loss).mean(), (loss, model_state)

    (mean_loss, (loss, model_state)), grads = jax.value_and_grad(
      objective, has_aux=True
    )(state.params)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    new_params = optax.apply_updates(state.params, updates)
    transition = Transition(
      draw=draw,
      batch=batch,
      loss=loss,
      params=state.params,
      new_params=new_params,
      grads=grads,
      updates=updates,
      pool=pool,
      valid=valid,
      # The same key and mode before and after; running statistics dropped.
      loss_fn=lambda params, batch: losses(params, batch)[0],
      gather=gather,
    )
    feedback = sampler.signal(key_signal, transition)
    new_state = TrainState(
      step=state.step + 1,
      key=state.key,
      params=new_params,
      model_state=model_state,
      opt_state=opt_state,
      sampler_state=sampler.update(state.sampler_state, draw, feedback),
    )
    gain = feedback.gain.mean() if isinstance(feedback, Feedback) else ()
    return new_state, Metrics(mean_loss, draw.policy, gain)

  return train_step


def make_train_chunk(
  train_step: TrainStep, most_steps: int, trials_by: str
) -> Callable[[TrainState, Array, Pool, Pool], tuple[TrainState, Metrics]]:
  """Many steps of S trials in one program.

  Args:
    train_step: one step of one trial.
    most_steps: T, of which a call may do fewer: a run whose last chunk is
      short needs no second program.
    trials_by: "vmap", all trials in each operation; or "map", one trial after
      the other, still in one program.

  Returns:
    A function (state [S], num_steps, pool, valid) -> (state, metrics [S, T]);
    the metrics past num_steps are zeros.
  """

  def chunk(state: TrainState, num_steps: Array, pool: Pool, valid: Pool):
    _, one = jax.eval_shape(train_step, state, pool, valid)
    every = jax.tree.map(
      lambda x: jnp.zeros((most_steps, *x.shape), x.dtype), one
    )

    def body(i: Array, carry: tuple[TrainState, Metrics]):
      state, every = carry
      state, one = train_step(state, pool, valid)
      return state, jax.tree.map(lambda x, y: x.at[i].set(y), every, one)

    return jax.lax.fori_loop(0, num_steps, body, (state, every))

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
