"""Samplers that use what no built-in sampler does yet."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr import samplers
from alcurr.types import Draw, Sampler, SamplerSpec, Selection, Signal


def largest_loss(
  *, batch_size: int, num_candidates: int = 32, signal: Signal | None = None
) -> Sampler:
  """Trains on the B of M uniform candidates that have the largest loss."""
  uniform = samplers.uniform(batch_size=num_candidates)

  def select(key, state, draw, score):
    _, slots = jax.lax.top_k(score, batch_size)
    return Selection(slots.astype(jnp.int32), jnp.ones(batch_size))

  return uniform._replace(
    signal=signal,
    score=lambda candidates: candidates.loss,
    select=select,
    spec=SamplerSpec(num_candidates=num_candidates),
  )


class CountState(NamedTuple):
  count: jax.Array  # [N] int32, how often each example was drawn


def counting(*, batch_size: int) -> Sampler:
  """Draws with replacement and counts every example's draws."""
  uniform = samplers.uniform(batch_size=batch_size, replacement=True)

  def init(key, pool):
    return CountState(jnp.zeros(pool.label.shape[0], jnp.int32))

  def update(state, draw, feedback):
    return CountState(state.count.at[draw.index].add(1))

  return uniform._replace(
    init=init,
    sample=lambda key, state, pool: uniform.sample(key, (), pool),
    update=update,
    spec=SamplerSpec(per_example_state=True),
  )


def relabelling(*, batch_size: int, num_classes: int) -> Sampler:
  """Draws uniformly and trains on the next class instead of the label."""
  uniform = samplers.uniform(batch_size=batch_size)

  def sample(key, state, pool) -> Draw:
    draw = uniform.sample(key, state, pool)
    return draw._replace(label=(pool.label[draw.index] + 1) % num_classes)

  return uniform._replace(sample=sample)


def two_partitions(*, batch_size: int) -> Sampler:
  """Draws classes alike, and reports the arms of a second partition."""
  by_class = samplers.fixed_policy(
    samplers.policies.uniform(),
    batch_size=batch_size,
    num_steps=1,
    partition="label",
    arms_per_batch=batch_size,
  )

  def sample(key, state, pool) -> Draw:
    draw = by_class.sample(key, state, pool)
    partition = pool.partitions["difficulty"]
    share = partition.size / partition.size.sum()
    return draw._replace(arm=partition.arm[draw.index], policy=share)

  def update(state, draw, feedback):
    return state._replace(step=state.step + 1)

  return by_class._replace(
    sample=sample,
    update=update,
    spec=SamplerSpec(
      partitions=("label", "difficulty"), arm_partition="difficulty"
    ),
  )
