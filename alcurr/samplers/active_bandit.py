"""The active bandit of "Data Sampling Algorithms for Active Learning".

Mantica and Hellerstein train on batches from K arms (percentiles of
difficulty within each class) and learn from which arm the model learns most:

  p(j) = (1 - ε) π(j) + ε / K        draw arm j (ε = 1 - E of the paper)
  g    = L(x, θ) - L(x, θ')          the prediction gain of its batch x
  r    = (2 rank(g) - t) / t         among the t gains so far
  w_j += η r, after H steps          π = softmax(w)

Every choice the paper makes or leaves open is an argument. Cost a step: O(B)
for the draw, the rescale's comparisons, and what the gain asks for, paid at
every `every`-th step.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.samplers.by_arm import by_arm
from alcurr.types import (
  Array,
  Bandit,
  Draw,
  Feedback,
  Gain,
  Pool,
  PyTree,
  Rescale,
  Sampler,
  Transition,
)


class ActiveBanditState(NamedTuple):
  step: Array  # [] int32, updates so far
  epsilon: Array  # [] float32, share of uniform exploration at this step
  warmup: Array  # [] int32
  bandit: PyTree
  rescale: PyTree
  passes: PyTree  # over the arms, see by_arm


def _mean_by_arm(feedback: Feedback, num_arms: int) -> tuple[Array, Array]:
  """Each arm's mean gain [K], and whether it has any [K] bool."""
  ones = jnp.ones_like(feedback.gain)
  count = jax.ops.segment_sum(ones, feedback.arm, num_arms)
  total = jax.ops.segment_sum(feedback.gain, feedback.arm, num_arms)
  return total / jnp.maximum(count, 1), count > 0


def _check_numbers(
  epsilon: float, warmup: int, every: int, num_steps: int | None
) -> None:
  if not 0 <= epsilon <= 1:
    raise ValueError(f"epsilon must be in [0, 1], got {epsilon}")
  if warmup < 0:
    raise ValueError(f"warmup must not be negative, got {warmup}")
  if every < 1:
    raise ValueError(f"every must be at least 1, got {every}")
  if num_steps is not None and warmup + every > num_steps:
    raise ValueError(
      f"warmup {warmup} and every {every} leave none of the run's {num_steps} "
      "steps to learn in; take smaller ones, or a larger budget"
    )


def active_bandit(
  bandit: Bandit,
  *,
  gain: Gain,
  rescale: Rescale,
  batch_size: int,
  epsilon: float | Callable[[Array], Array] = 0.2,
  warmup: int = 100,
  arms: str = "difficulty",
  arms_per_batch: int = 1,
  replacement: bool = False,
  every: int = 1,
  num_steps: int | None = None,
) -> Sampler:
  """A bandit over the arms of a pool, paid in progress.

  Args:
    bandit: the policy over K arms.
    gain: the progress signal.
    rescale: from gains to rewards.
    batch_size: B.
    epsilon: share of uniform exploration, in [0, 1]; or a schedule, a
      function of the step whose values are clipped to [0, 1].
    warmup: H, the steps whose gains are ranked but not learned from.
    arms: the name of the partition in `pool.arms`.
    arms_per_batch: m, a divisor of B: the batch is m equal groups, each from
      an arm of its own draw. 1 as in the paper; B so that every example draws
      its own arm. Each arm is paid the mean of the gains credited to it.
    replacement: within an arm, draw uniformly with replacement; else by
      shuffled passes over each arm.
    every: n, the gain is measured, and the bandit learns, at each n-th step.
    num_steps: of the run, which `warmup` and `every` must leave some of; None
      where it is not known.
  """
  by = by_arm(
    batch_size=batch_size,
    arms=arms,
    arms_per_batch=arms_per_batch,
    replacement=replacement,
  )
  first = epsilon(0) if callable(epsilon) else epsilon
  _check_numbers(first, warmup, every, num_steps)

  def init(key: Array, pool: Pool) -> ActiveBanditState:
    passes = by.start(key, pool)
    num_arms = pool.arms[arms].size.shape[0]
    return ActiveBanditState(
      step=jnp.int32(0),
      epsilon=jnp.float32(first),
      warmup=jnp.int32(warmup),
      bandit=bandit.init(num_arms),
      rescale=rescale.init(min(arms_per_batch, num_arms)),
      passes=passes,
    )

  def sample(key: Array, state: ActiveBanditState, pool: Pool) -> Draw:
    key_policy, key_arm, key_slot = jax.random.split(key, 3)
    policy = bandit.policy(key_policy, state.bandit)
    policy = (1 - state.epsilon) * policy + state.epsilon / policy.shape[0]
    return by.draw(key_arm, key_slot, state.passes, pool, policy)

  def signal(key: Array, transition: Transition) -> Feedback:
    return gain.measure(key, transition, transition.pool.arms[arms])

  def learn(
    state: ActiveBanditState, num_arms: int, feedback: Feedback
  ) -> tuple[PyTree, PyTree]:
    mean_gain, paid = _mean_by_arm(feedback, num_arms)
    # Ranks cost by the number of gains: those of the arms paid alone.
    most = min(arms_per_batch, num_arms)
    (arm,) = jnp.nonzero(paid, size=most, fill_value=num_arms)
    gains = mean_gain.at[arm].get(mode="fill", fill_value=0)
    rewards, rescale_state = rescale.apply(state.rescale, gains, arm < num_arms)
    reward = jnp.zeros(num_arms).at[arm].set(rewards, mode="drop")
    learned = jax.tree.map(
      lambda new, old: jnp.where(state.step >= state.warmup, new, old),
      bandit.update(state.bandit, reward, paid),
      state.bandit,
    )
    return learned, rescale_state

  def update(
    state: ActiveBanditState, draw: Draw, feedback: Feedback | tuple[()]
  ) -> ActiveBanditState:
    bandit_state, rescale_state = (
      learn(state, draw.policy.shape[0], feedback)
      if feedback
      else (state.bandit, state.rescale)
    )
    step = state.step + 1
    return ActiveBanditState(
      step=step,
      epsilon=jnp.clip(epsilon(step), 0, 1).astype(jnp.float32)
      if callable(epsilon)
      else state.epsilon,
      warmup=state.warmup,
      bandit=bandit_state,
      rescale=rescale_state,
      passes=by.advance(state.passes, draw),
    )

  return Sampler(
    init,
    sample,
    signal,
    update,
    needs=(arms,),
    every=every,
    prepare=gain.prepare,
    refresh=gain.refresh,
    floor=lambda state: state.epsilon,
  )
