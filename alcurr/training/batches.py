"""Draws the batch of a step: B examples, or B selected from M candidates."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from alcurr.training import parallel
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
  StatefulLoss,
  StepKeys,
  TrainState,
)

# (draw, batch), both of M candidates -> what their score looks at
MakeInfo = Callable[[Draw, Batch], CandidateInfo]


class StepSpec(NamedTuple):
  """The arguments of `step.make_steps`; the sampler has a signal."""

  model: Model
  tx: optax.GradientTransformation
  sampler: Sampler
  gather: Gather
  on_nonfinite: str
  augment: Augment | None
  loss: Loss  # that is measured
  stateful_loss: StatefulLoss | None  # that is trained on instead


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
  draw, batch, candidates = draw_and_select(
    spec.sampler,
    keys,
    state.sampler_state,
    pool,
    spec.gather,
    functools.partial(_candidate_info, spec, keys, state, pool, prepared),
    scores,
  )
  if spec.augment is not None:
    with jax.named_scope("gather_batch"):
      batch = batch._replace(inputs=spec.augment(keys.augment, batch.inputs))
  return draw, batch, candidates


def draw_and_select(
  sampler: Sampler,
  keys: StepKeys,
  state: PyTree,
  pool: Pool,
  gather: Gather,
  make_info: MakeInfo,
  scores: bool | None = None,
) -> tuple[Draw, Batch, Candidates | None]:
  """Returns B examples, selected from M if the sampler draws candidates.

  They are the B with the best scores or, at a step that does not score, the
  first.

  Args:
    sampler: draws and selects.
    keys: of the step.
    state: the sampler's.
    pool: to draw from.
    gather: (pool, index) -> Batch.
    make_info: (draw, batch), both of M, to what the score looks at.
    scores: see `draw_batch`.
  """
  with jax.named_scope("draw"):
    draw = parallel.replicate(sampler.sample(keys.draw, state, pool))
  if sampler.spec.num_candidates is None:
    return draw, _gather(gather, pool, draw), None

  def by_score() -> tuple[Batch, PyTree, Selection]:
    batch = _gather(gather, pool, draw)
    with jax.named_scope("select"):
      score = parallel.replicate(sampler.score(make_info(draw, batch)))
      selection = sampler.select(keys.select, state, draw, score)
      selected = _take(batch, selection.slots)
      return parallel.split_batch(selected), score, selection

  _, shapes, first = jax.eval_shape(by_score)

  def the_first() -> tuple[Batch, PyTree, Selection]:
    selection = select_first(draw, first.slots.shape[0])
    score = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    batch = _gather(gather, pool, selected_draw(draw, selection))
    return batch, score, selection

  if scores is None and sampler.is_scoring is not None:
    is_scored = sampler.is_scoring(state)
    chosen = jax.lax.cond(is_scored, by_score, the_first)
  else:
    is_scored = jnp.bool_(scores is not False)
    chosen = the_first() if scores is False else by_score()
  batch, score, selection = chosen
  candidates = Candidates(draw, score, selection, is_scored)
  return selected_draw(draw, selection), batch, candidates


@jax.named_scope("gather_batch")
def _gather(gather: Gather, pool: Pool, draw: Draw) -> Batch:
  batch = gather(pool, draw.index)
  return batch if draw.label is None else batch._replace(label=draw.label)


def select_first(draw: Draw, batch_size: int) -> Selection:
  """Selects the first B of a draw, as a step without scores does."""
  slots = jnp.arange(batch_size, dtype=jnp.int32)
  return Selection(slots, draw.weight[:batch_size])


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
      keys.model, params, state.model_state, batch.inputs, train=train
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
  return model.features(state.params, state.model_state, batch.inputs)


def selected_draw(draw: Draw, selection: Selection) -> Draw:
  """Returns the draw of the B examples selected from M candidates."""
  selected = _take(draw._replace(policy=None), selection.slots)
  return selected._replace(weight=selection.weight, policy=draw.policy)
