"""Draws the batch of a step: B examples, or B selected from M candidates."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from alcurr.types import (
  Array,
  Augment,
  Batch,
  CandidateInfo,
  Candidates,
  Draw,
  Gather,
  Loss,
  Model,
  Pool,
  PyTree,
  Sampler,
  Selection,
  StepKeys,
  TrainState,
)


class StepSpec(NamedTuple):
  """The arguments of `step.make_steps`; the sampler has a signal."""

  model: Model
  tx: optax.GradientTransformation
  sampler: Sampler
  gather: Gather
  on_nonfinite: str
  augment: Augment | None
  loss: Loss


def draw_batch(
  spec: StepSpec,
  keys: StepKeys,
  state: TrainState,
  pool: Pool,
  prepared: PyTree,
  scores: bool | None,
) -> tuple[Draw, Batch, Candidates | None]:
  """Returns B examples to train on, and the candidates they were among.

  Candidates are gathered once, and scored without augmentation. `scores` says
  whether this step scores them; None: as the sampler decides.
  """
  sampler, candidates = spec.sampler, None
  with jax.named_scope("draw"):
    draw = sampler.sample(keys.draw, state.sampler_state, pool)
  if sampler.spec.num_candidates is None:
    batch = _gather(spec, pool, draw)
  else:
    batch, candidates = _select(spec, keys, state, pool, prepared, draw, scores)
    draw = selected_draw(draw, candidates.selection)
  if spec.augment is not None:
    with jax.named_scope("gather_batch"):
      batch = batch._replace(image=spec.augment(keys.augment, batch.image))
  return draw, batch, candidates


@jax.named_scope("gather_batch")
def _gather(spec: StepSpec, pool: Pool, draw: Draw) -> Batch:
  batch = spec.gather(pool, draw.index)
  return batch if draw.label is None else batch._replace(label=draw.label)


def _select(
  spec: StepSpec,
  keys: StepKeys,
  state: TrainState,
  pool: Pool,
  prepared: PyTree,
  draw: Draw,
  scores: bool | None,
) -> tuple[Batch, Candidates]:
  """Selects B of M candidates, by their scores or, without any, the first."""
  sampler = spec.sampler

  def by_score() -> tuple[Batch, PyTree, Selection]:
    batch = _gather(spec, pool, draw)
    with jax.named_scope("select"):
      score = sampler.score(
        _candidate_info(spec, keys, state, pool, prepared, draw, batch)
      )
      selection = sampler.select(keys.select, state.sampler_state, draw, score)
      return _take(batch, selection.slots), score, selection

  _, shapes, first = jax.eval_shape(by_score)

  def the_first() -> tuple[Batch, PyTree, Selection]:
    slots = jnp.arange(first.slots.shape[0], dtype=jnp.int32)
    selection = Selection(slots, draw.weight[: slots.shape[0]])
    score = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    batch = _gather(spec, pool, selected_draw(draw, selection))
    return batch, score, selection

  if scores is None and sampler.is_scoring is not None:
    is_scored = sampler.is_scoring(state.sampler_state)
    chosen = jax.lax.cond(is_scored, by_score, the_first)
  else:
    is_scored = jnp.bool_(scores is not False)
    chosen = the_first() if scores is False else by_score()
  batch, score, selection = chosen
  return batch, Candidates(draw, score, selection, is_scored)


def _take(tree: PyTree, slots: Array) -> PyTree:
  return jax.tree.map(lambda leaf: leaf[slots], tree)


def _candidate_info(
  spec: StepSpec,
  keys: StepKeys,
  state: TrainState,
  pool: Pool,
  prepared: PyTree,
  draw: Draw,
  batch: Batch,
) -> CandidateInfo:
  """Runs the scoring forward pass on M candidates."""
  apply = spec.model.scoring or spec.model.apply
  train = spec.sampler.spec.scoring_mode == "train"

  def forward(params: PyTree) -> tuple[Array, Array]:
    logits, _ = apply(
      keys.model, params, state.model_state, batch.image, train=train
    )
    return spec.loss(logits, batch.label), logits

  loss, logits = forward(state.params)
  return CandidateInfo(
    draw=draw,
    batch=batch,
    logits=logits,
    loss=loss,
    pool=pool,
    # The primal is the scoring forward pass again, and compiles to it.
    loss_jvp=lambda tangent: jax.jvp(
      lambda params: forward(params)[0], (state.params,), (tangent,)
    )[1],
    logit_grads=lambda: logit_grads(spec.loss, logits, batch),
    features=lambda: features(spec.model, state, batch),
    prepared=prepared,
  )


def logit_grads(loss: Loss, logits: Array, batch: Batch) -> Array:
  """Returns the gradient of each loss in its logits, [b, V]."""
  return jax.grad(lambda logits: loss(logits, batch.label).sum())(logits)


def features(model: Model, state: TrainState, batch: Batch) -> Array:
  """Returns the inputs of the last layer, [b, F].

  Raises:
    ValueError: the model does not have them.
  """
  if model.features is None:
    raise ValueError("the model has no features; see `Model.features`")
  return model.features(state.params, state.model_state, batch.image)


def selected_draw(draw: Draw, selection: Selection) -> Draw:
  """Returns the draw of the B examples selected from M candidates."""
  selected = _take(draw._replace(policy=None), selection.slots)
  return selected._replace(weight=selection.weight, policy=draw.policy)
