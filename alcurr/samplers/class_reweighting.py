"""Worst-class re-weighting of "Data Sampling Algorithms for Active Learning".

After every update the model answers a batch of held-out examples of each
class, and the next batch draws class c with a probability proportional to its
mistakes m_c:

  p(c) = (1 - f) m_c / Σ m + f / V       uniform where no mistake was made

Cost of a measurement: a forward pass on V x `per_class` examples (with 1,000
of them at batch 512 a step costs 1.65 times as much), at every `every`-th
step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.samplers.by_arm import by_arm
from alcurr.types import Array, Draw, Pool, PyTree, Sampler, Transition


class ClassReweightingState(NamedTuple):
  policy: Array  # [V] float32
  floor: Array  # [] float32
  passes: PyTree  # over the classes, see by_arm


def class_reweighting(
  *,
  batch_size: int,
  per_class: int = 32,
  floor: float = 0.05,
  every: int = 1,
  replacement: bool = False,
) -> Sampler:
  """Classes in proportion to the model's mistakes on them.

  Args:
    batch_size: B; every example draws its own class.
    per_class: held-out examples of each class that are answered, drawn
      afresh with replacement from the probe pool.
    floor: f, the share of uniform sampling, in [0, 1].
    every: mistakes are counted at each `every`-th step.
    replacement: within a class, draw with replacement; else by shuffled
      passes over each class.
  """
  by = by_arm(
    batch_size=batch_size,
    arms="label",
    arms_per_batch=batch_size,
    replacement=replacement,
  )
  if per_class < 1:
    raise ValueError(f"per_class must be at least 1, got {per_class}")
  if not 0 <= floor <= 1:
    raise ValueError(f"floor must be in [0, 1], got {floor}")
  if every < 1:
    raise ValueError(f"every must be at least 1, got {every}")

  def init(key: Array, pool: Pool) -> ClassReweightingState:
    passes = by.start(key, pool)
    num_classes = pool.arms["label"].size.shape[0]
    uniform = jnp.full(num_classes, 1 / num_classes, jnp.float32)
    return ClassReweightingState(uniform, jnp.float32(floor), passes)

  def sample(key: Array, state: ClassReweightingState, pool: Pool) -> Draw:
    key_arm, key_slot = jax.random.split(key)
    return by.draw(key_arm, key_slot, state.passes, pool, state.policy)

  def signal(key: Array, transition: Transition) -> Array:
    """The mistakes on each class, [V] float32."""
    probe = transition.situation.probe
    label = probe.arms["label"]
    size = label.size[:, None]
    place = jax.random.randint(key, (size.shape[0], per_class), 0, size)
    index = label.order[label.start[:, None] + place].reshape(-1)
    batch = transition.situation.gather(probe, index)
    wrong = transition.predict(batch).argmax(1) != batch.label
    return wrong.reshape(-1, per_class).sum(1).astype(jnp.float32)

  def update(
    state: ClassReweightingState, draw: Draw, feedback: Array | tuple[()]
  ) -> ClassReweightingState:
    policy = state.policy
    if not isinstance(feedback, tuple):
      # With one mistake for each class where there is none: uniform.
      mistakes = jnp.where(feedback.sum() > 0, feedback, 1.0)
      policy = (1 - state.floor) * mistakes / mistakes.sum()
      policy += state.floor / mistakes.shape[0]
    return state._replace(policy=policy, passes=by.advance(state.passes, draw))

  return Sampler(
    init,
    sample,
    signal,
    update,
    needs=("label",),
    every=every,
    floor=lambda state: state.floor,
  )
