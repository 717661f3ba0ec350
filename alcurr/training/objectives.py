"""The objective of a step, whose gradient the optimiser gets."""

from collections.abc import Callable
from typing import NamedTuple

import jax

from alcurr.training.batches import StepSpec
from alcurr.types import (
  Array,
  Batch,
  Draw,
  LossFn,
  Model,
  Pool,
  PyTree,
  TrainState,
)


class Forward(NamedTuple):
  """The training forward pass of a batch."""

  mean_loss: Array  # [] float32, of the loss that is trained on, weighted
  loss: Array  # [B] float32, of the loss that is measured
  logits: Array  # [B, V]
  model_state: PyTree
  loss_state: PyTree


def _losses(
  spec: StepSpec,
  apply: Callable,
  key: Array,
  params: PyTree,
  model_state: PyTree,
  batch: Batch,
) -> tuple[Array, tuple[Array, PyTree]]:
  """Returns the losses [B] in train mode, and (logits [B, V], model state)."""
  inputs = batch.inputs
  logits, model_state = apply(key, params, model_state, inputs, train=True)
  return spec.loss(logits, batch.label), (logits, model_state)


def make_loss_fn(spec: StepSpec, key: Array, model_state: PyTree) -> LossFn:
  """Returns a function (params, batch) -> the losses [b] in train mode."""
  apply = spec.model.apply

  def loss_fn(params: PyTree, batch: Batch) -> Array:
    return _losses(spec, apply, key, params, model_state, batch)[0]

  return loss_fn


def make_probe_loss_fn(
  spec: StepSpec, key: Array, model_state: PyTree
) -> LossFn:
  """Returns `make_loss_fn`, plus the losses of a scoring network.

  So their gradient has the parameters of both.
  """
  loss_fn, scoring = make_loss_fn(spec, key, model_state), spec.model.scoring
  if not spec.model.trains_scoring:
    return loss_fn

  def both(params: PyTree, batch: Batch) -> Array:
    loss, _ = _losses(spec, scoring, key, params, model_state, batch)
    return loss_fn(params, batch) + loss

  return both


def make_objective(
  spec: StepSpec, key: Array, state: TrainState, draw: Draw, batch: Batch
) -> Callable[[PyTree], tuple[Array, Forward]]:
  """Returns a function (params) -> (the mean loss [], forward).

  A scoring network that is trained adds its mean loss, as it has no parameter
  in common with the model.
  """
  model = spec.model

  def mean(loss: Array) -> Array:
    return (draw.weight.astype(loss.dtype) * loss).mean()

  def objective(params: PyTree) -> tuple[Array, Forward]:
    loss, (logits, model_state) = _losses(
      spec, model.apply, key, params, state.model_state, batch
    )
    trained, loss_state = loss, state.loss_state
    if spec.stateful_loss:
      trained, loss_state = spec.stateful_loss.apply(
        loss_state, draw.index, logits, batch.label
      )
    total = mean_loss = mean(trained)
    if model.trains_scoring:
      of_scoring, (_, model_state) = _losses(
        spec, model.scoring, key, params, model_state, batch
      )
      total += mean(of_scoring)
    return total, Forward(mean_loss, loss, logits, model_state, loss_state)

  return objective


def add_penalty(
  model: Model, params: PyTree, grads: PyTree, pool: Pool
) -> PyTree:
  """Returns the gradients [of the mean loss] with those of the penalty / N."""
  if model.penalty is None:
    return grads
  num_examples = pool.label.shape[0]
  return jax.tree.map(
    lambda grad, penalty: grad + penalty / num_examples,
    grads,
    jax.grad(model.penalty)(params),
  )
