"""Draws the batch of a step, with candidates scored and selected if need be."""

from collections.abc import Callable

import jax

from alcurr.types import (
  Array,
  Augment,
  Batch,
  Candidates,
  Draw,
  Model,
  Pool,
  Sampler,
  StepKeys,
  TrainState,
)

# (pool, index [b]) -> Batch
Gather = Callable[[Pool, Array], Batch]


def draw_batch(
  sampler: Sampler,
  model: Model,
  gather: Gather,
  augment: Augment | None,
  keys: StepKeys,
  state: TrainState,
  pool: Pool,
) -> tuple[Draw, Batch, Candidates | None]:
  """Returns B examples to train on, and the candidates they were among.

  Candidates are gathered once, and scored in eval mode without augmentation.
  """
  with jax.named_scope("draw"):
    draw = sampler.sample(keys.draw, state.sampler_state, pool)
  with jax.named_scope("gather_batch"):
    batch = gather(pool, draw.index)
    if draw.label is not None:
      batch = batch._replace(label=draw.label)
  candidates = None
  if sampler.spec.num_candidates is not None:
    with jax.named_scope("select"):
      logits, _ = model.apply(
        keys.model, state.params, state.model_state, batch.image, train=False
      )
      score = sampler.score(logits, batch.label)
      selection = sampler.select(keys.select, state.sampler_state, draw, score)
      candidates = Candidates(draw, score, selection)
      draw = selected_draw(candidates)
      batch = jax.tree.map(lambda leaf: leaf[selection.slots], batch)
  if augment is not None:
    with jax.named_scope("gather_batch"):
      batch = batch._replace(image=augment(keys.augment, batch.image))
  return draw, batch, candidates


def selected_draw(candidates: Candidates) -> Draw:
  """Returns the draw of the B examples selected from M candidates."""
  draw, _, (slots, weight) = candidates
  selected = jax.tree.map(lambda x: x[slots], draw._replace(policy=None))
  return selected._replace(weight=weight, policy=draw.policy)
