"""The active bandit of "Data Sampling Algorithms for Active Learning".

Mantica and Hellerstein train on batches from K arms (percentiles of
difficulty within each class) and learn from which arm the model learns most:

  p(j) = (1 - ε) π(j) + ε / K        draw arm j (ε = 1 - E of the paper)
  g    = L(x, θ) - L(x, θ')          the prediction gain of its batch x
  r    = (2 rank(g) - t) / t         among the t gains so far
  w_j += η r, after H steps          π = softmax(w)

Every choice the paper makes or leaves open is an argument. Cost a step: O(B)
for the draw, the rescale's comparisons, and what the gain asks for.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import binom

from alcurr.samplers import cursor
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
  cursor: PyTree  # cursor.Cursor, or () with replacement


def _count_before(arm: Array, num_arms: int) -> Array:
  """How many earlier entries of `arm` [m] are the same: [m] int32."""
  chosen = jax.nn.one_hot(arm, num_arms, dtype=jnp.int32)
  before = jnp.cumsum(chosen, axis=0) - chosen
  return before[jnp.arange(arm.shape[0]), arm]


def _check_sizes(size: Array, needed: int, name: str) -> None:
  """Refuses arms [K] too small for a batch, where their sizes are known."""
  if isinstance(size, jax.core.Tracer):
    return
  smallest = int(size.min())
  if smallest < needed:
    raise ValueError(
      f"the smallest of the {size.shape[0]} arms of {name!r} has {smallest} "
      f"examples, too few for a draw of {needed}; take fewer arms, a smaller "
      "batch, or replacement=True"
    )


def _mean_by_arm(feedback: Feedback, num_arms: int) -> tuple[Array, Array]:
  """Each arm's mean gain [K], and whether it has any [K] bool."""
  ones = jnp.ones_like(feedback.gain)
  count = jax.ops.segment_sum(ones, feedback.arm, num_arms)
  total = jax.ops.segment_sum(feedback.gain, feedback.arm, num_arms)
  return total / jnp.maximum(count, 1), count > 0


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
  """
  if batch_size < 1:
    raise ValueError(f"batch_size must be at least 1, got {batch_size}")
  if not 0 <= (first := epsilon(0) if callable(epsilon) else epsilon) <= 1:
    raise ValueError(f"epsilon must be in [0, 1], got {first}")
  if warmup < 0:
    raise ValueError(f"warmup must not be negative, got {warmup}")
  if arms_per_batch < 1 or batch_size % arms_per_batch:
    raise ValueError(
      f"arms_per_batch must divide batch_size {batch_size}, "
      f"got {arms_per_batch}"
    )
  group_size = batch_size // arms_per_batch

  def init(key: Array, pool: Pool) -> ActiveBanditState:
    if arms not in pool.arms:
      raise ValueError(f"the pool has arms {sorted(pool.arms)}, not {arms!r}")
    size = pool.arms[arms].size
    _check_sizes(size, 1 if replacement else batch_size, arms)
    num_arms = size.shape[0]
    return ActiveBanditState(
      step=jnp.int32(0),
      epsilon=jnp.float32(first),
      warmup=jnp.int32(warmup),
      bandit=bandit.init(num_arms),
      rescale=rescale.init(min(arms_per_batch, num_arms)),
      cursor=() if replacement else cursor.start(key, size),
    )

  def sample(key: Array, state: ActiveBanditState, pool: Pool) -> Draw:
    key_policy, key_arm, key_slot = jax.random.split(key, 3)
    partition = pool.arms[arms]
    num_arms = partition.size.shape[0]
    policy = bandit.policy(key_policy, state.bandit)
    policy = (1 - state.epsilon) * policy + state.epsilon / num_arms
    chosen = jax.random.categorical(
      key_arm, jnp.log(policy), shape=(arms_per_batch,)
    ).astype(jnp.int32)
    arm = jnp.repeat(chosen, group_size)
    if replacement:
      place = jax.random.randint(key_slot, arm.shape, 0, partition.size[arm])
      prob = policy[arm] / partition.size[arm]
    else:
      before = _count_before(chosen, num_arms)
      within = jnp.tile(jnp.arange(group_size), arms_per_batch)
      ahead = jnp.repeat(before * group_size, group_size) + within
      place = cursor.look_ahead(state.cursor, arm, ahead)
      # The g-th group meets just this stretch of the arm's pass if `before`
      # of the g groups ahead of it drew the arm, and it does too.
      group_prob = policy[chosen] * binom.pmf(
        before, jnp.arange(arms_per_batch), policy[chosen]
      )
      prob = jnp.repeat(group_prob, group_size)
    index = partition.order[partition.start[arm] + place]
    return Draw(index, arm, prob, jnp.ones(arm.shape, jnp.float32), policy)

  def signal(key: Array, transition: Transition) -> Feedback:
    return gain(key, transition, transition.pool.arms[arms])

  def update(
    state: ActiveBanditState, draw: Draw, feedback: Feedback
  ) -> ActiveBanditState:
    num_arms = draw.policy.shape[0]
    mean_gain, paid = _mean_by_arm(feedback, num_arms)
    reward, rescale_state = rescale.apply(state.rescale, mean_gain, paid)
    learned = bandit.update(state.bandit, reward, paid)
    step = state.step + 1
    return ActiveBanditState(
      step=step,
      epsilon=jnp.clip(epsilon(step), 0, 1).astype(jnp.float32)
      if callable(epsilon)
      else state.epsilon,
      warmup=state.warmup,
      bandit=jax.tree.map(
        lambda new, old: jnp.where(step > state.warmup, new, old),
        learned,
        state.bandit,
      ),
      rescale=rescale_state,
      cursor=()
      if replacement
      else cursor.advance(
        state.cursor,
        jax.ops.segment_sum(jnp.ones_like(draw.arm), draw.arm, num_arms),
      ),
    )

  return Sampler(init, sample, signal, update, needs=(arms,))
