"""The objective of a step, whose gradient the optimiser gets."""

from collections.abc import Callable
from typing import NamedTuple

from alcurr.training.batches import StepSpec
from alcurr.types import Array, Batch, Draw, PyTree, TrainState


def make_losses(spec: StepSpec, key: Array, model_state: PyTree):
  """Returns two functions of (params, batch), both in train mode.

  They return losses [B], (logits [B, V], model state), and the losses alone.
  """

  def losses(params: PyTree, batch: Batch):
    logits, new_state = spec.model.apply(
      key, params, model_state, batch.image, train=True
    )
    return spec.loss(logits, batch.label), (logits, new_state)

  return losses, lambda params, batch: losses(params, batch)[0]


def _scoring_loss(
  spec: StepSpec,
  key: Array,
  params: PyTree,
  model_state: PyTree,
  batch: Batch,
) -> tuple[Array, PyTree]:
  """Returns the losses [B] of the scoring network, and the new model state."""
  logits, model_state = spec.model.scoring(
    key, params, model_state, batch.image, train=True
  )
  return spec.loss(logits, batch.label), model_state


class Forward(NamedTuple):
  """The training forward pass of a batch."""

  mean_loss: Array  # [] float32, of the loss that is trained on, weighted
  loss: Array  # [B] float32, of the loss that is measured
  logits: Array  # [B, V]
  model_state: PyTree
  loss_state: PyTree


def make_objective(
  spec: StepSpec, key: Array, state: TrainState, draw: Draw, batch: Batch
) -> Callable[[PyTree], tuple[Array, Forward]]:
  """Returns a function (params) -> (what the gradient is of, [], forward)."""
  losses, _ = make_losses(spec, key, state.model_state)

  def mean(loss: Array) -> Array:
    return (draw.weight.astype(loss.dtype) * loss).mean()

  def objective(params: PyTree) -> tuple[Array, Forward]:
    loss, (logits, model_state) = losses(params, batch)
    trained, loss_state = loss, state.loss_state
    if spec.stateful_loss:
      trained, loss_state = spec.stateful_loss.apply(
        loss_state, draw.index, logits, batch.label
      )
    total = mean_loss = mean(trained)
    if spec.model.trains_scoring:
      scoring_loss, model_state = _scoring_loss(
        spec, key, params, model_state, batch
      )
      total += mean(scoring_loss)
    return total, Forward(mean_loss, loss, logits, model_state, loss_state)

  return objective
