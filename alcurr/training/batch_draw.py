"""The draw of a step: its keys, its batch, and the selection of candidates."""

from typing import NamedTuple

import jax
import optax

from alcurr.types import (
  Array,
  Augment,
  Batch,
  Candidates,
  Draw,
  Gather,
  Loss,
  Model,
  Pool,
  Sampler,
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


def run_keys(key: Array) -> Array:
  """Splits a run's key: initial parameters, initial sampler state, steps."""
  return jax.random.split(key, 3)


def step_keys(key: Array, step: Array | int) -> StepKeys:
  """Returns the keys of a step, from 0, for the key of the run's steps."""
  keys = jax.random.split(jax.random.fold_in(key, step), len(StepKeys._fields))
  return StepKeys(*keys)


def draw_batch(
  spec: StepSpec, keys: StepKeys, state: TrainState, pool: Pool
) -> tuple[Draw, Batch, Candidates | None]:
  """Returns B examples to train on, and the candidates they were among.

  Candidates are gathered once, and scored in eval mode without augmentation.
  """
  sampler, candidates = spec.sampler, None
  with jax.named_scope("draw"):
    draw = sampler.sample(keys.draw, state.sampler_state, pool)
  with jax.named_scope("gather_batch"):
    batch = spec.gather(pool, draw.index)
    if draw.label is not None:
      batch = batch._replace(label=draw.label)
  if sampler.spec.num_candidates is not None:
    with jax.named_scope("select"):
      logits, _ = spec.model.apply(
        keys.model, state.params, state.model_state, batch.image, train=False
      )
      score = sampler.score(logits, batch.label)
      selection = sampler.select(keys.select, state.sampler_state, draw, score)
      candidates = Candidates(draw, score, selection)
      draw = selected_draw(candidates)
      batch = jax.tree.map(lambda leaf: leaf[selection.slots], batch)
  if spec.augment is not None:
    with jax.named_scope("gather_batch"):
      batch = batch._replace(image=spec.augment(keys.augment, batch.image))
  return draw, batch, candidates


def selected_draw(candidates: Candidates) -> Draw:
  """Returns the draw of the B examples selected from M candidates."""
  draw, _, (slots, weight) = candidates
  selected = jax.tree.map(lambda x: x[slots], draw._replace(policy=None))
  return selected._replace(weight=weight, policy=draw.policy)
