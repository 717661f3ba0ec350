"""The active bandit of "Data Sampling Algorithms for Active Learning".

Mantica and Hellerstein train on batches from K arms (percentiles of
difficulty within each class) and learn from which arm the model learns most:

  p(j) = (1 - ε) π(j) + ε / K        draw arm j (ε = 1 - E of the paper)
  g    = L(x, θ) - L(x, θ')          the prediction gain of its batch x
  r    = (2 rank(g) - t) / t         among the t gains so far
  w_j += η r, after H steps          π = softmax(w)

Gains that are not finite are ignored, and counted in the state.

Every choice the paper makes or leaves open is an argument. Cost a step: O(B)
for the draw, the comparisons of the reward, and what the gain asks for, paid
at every `interval`-th step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.bandits import softmax
from alcurr.bandits._feedback import per_time
from alcurr.bandits.gains import prediction_gain
from alcurr.bandits.rewards import rank
from alcurr.core.arguments import (
  check_at_least,
  check_fraction,
  check_record,
)
from alcurr.core.counters import count_up
from alcurr.core.promotion import standard_promotion
from alcurr.samplers._arm_draw import make_arm_draw
from alcurr.samplers._candidates import check_scores
from alcurr.types import (
  ArmOutcome,
  Array,
  Bandit,
  Draw,
  Feedback,
  Gain,
  Pool,
  PyTree,
  Reward,
  Sampler,
  SamplerSpec,
  Schedule,
  Signal,
  StepInfo,
)

_SOFTMAX = softmax(learning_rate=0.2)
_PREDICTION_GAIN = prediction_gain()


class ActiveBanditState(NamedTuple):
  step: Array  # [] int32, updates so far
  epsilon: Array  # [] float32, share of uniform exploration at this step
  warmup: Array  # [] int32
  bandit: PyTree
  reward: PyTree
  passes: PyTree  # over the arms, see `_arm_draw`
  ignored: Array  # [] int32, gains that were not finite


def _learn(
  bandit: Bandit,
  reward: Reward,
  state: ActiveBanditState,
  policy: Array,
  feedback: Feedback,
  most_paid: int,
) -> ActiveBanditState:
  """Pays the arms; at most `most_paid` of them were drawn.

  Gains that are not finite are counted, and nothing is learned from them.
  """
  num_arms = policy.shape[0]
  gain = feedback.gain.astype(jnp.float32)
  finite = jnp.isfinite(gain)
  count = jax.ops.segment_sum(
    finite.astype(jnp.float32), feedback.arm, num_arms
  )
  total = jax.ops.segment_sum(
    jnp.where(finite, gain, 0), feedback.arm, num_arms
  )
  # Finite gains may have a sum that is not.
  count = jnp.where(jnp.isfinite(total), count, 0)
  mean_gain = jnp.where(count > 0, total, 0) / jnp.maximum(count, 1)
  num_ignored = finite.size - count.sum().astype(jnp.int32)
  # Only the gains of the arms paid are ranked: a rank costs by their number.
  (arm,) = jnp.nonzero(count > 0, size=most_paid, fill_value=num_arms)
  gains = mean_gain.at[arm].get(mode="fill", fill_value=0)
  rewards, reward_state = reward.apply(state.reward, gains, arm < num_arms)
  outcome = ArmOutcome(
    reward=jnp.zeros_like(count).at[arm].set(rewards, mode="drop"),
    count=count,
    prob=policy,
  )
  learns = (state.step >= state.warmup) & (count > 0).any()
  bandit_state = jax.tree.map(
    lambda new, old: jnp.where(learns, new, old),
    bandit.update(state.bandit, outcome),
    state.bandit,
  )
  return state._replace(
    bandit=bandit_state,
    reward=reward_state,
    ignored=count_up(state.ignored, num_ignored),
  )


def active_bandit(
  bandit: Bandit = _SOFTMAX,
  *,
  batch_size: int,
  gain: Gain = _PREDICTION_GAIN,
  reward: Reward | None = None,
  epsilon: float | Schedule = 0.2,
  warmup: int | None = None,
  partition: str = "difficulty",
  arms_per_batch: int | None = None,
  replacement: bool = False,
  interval: int = 1,
  time: str | None = None,
  num_steps: int | None = None,
) -> Sampler:
  """Draws from the arms of a pool by a bandit that is paid in progress.

  The defaults are the paper's choices, but for `arms_per_batch`: the paper
  draws each batch from one arm.

  Args:
    bandit: the policy over K arms.
    batch_size: B.
    gain: the progress signal.
    reward: from gains to rewards. None: the rank among all gains so far, for
      which `num_steps` must be known.
    epsilon: share of uniform exploration, in [0, 1]; or a schedule, a
      function of the step whose values are clipped to [0, 1].
    warmup: H, the first steps, whose gains are ranked but not learned from.
      None: 100, and at most a tenth of the run.
    partition: the name of the arms in `pool.partitions`.
    arms_per_batch: m, a divisor of B: the batch is m equal groups, each from
      an arm drawn for it. Each arm is paid the mean of the gains credited to
      it. None: B, so that every example draws its own arm and a batch mixes
      them; it suits gains that are measured of each example. 1: the paper's,
      a batch of one arm. Gains of a whole batch need it, as they credit all
      arms of the batch alike; see `alcurr.bandits.gains`.
    replacement: within an arm, draw uniformly with replacement; else by
      shuffled passes over each arm.
    interval: n, the gain is measured, and the bandit learns, at each n-th
      step.
    time: the name in `pool.scores` of the time that an example takes, such as
      its length, positive. Gains are divided by its mean over their arm's
      examples in the batch (Graves et al. 2017). None: all take the same.
    num_steps: of the run; `warmup` and `interval` must leave some of them.
      None if unknown.
  """
  check_record(Bandit, bandit=bandit)
  check_record(Gain, gain=gain)
  check_record(Reward, reward=reward)
  check_record(Schedule, epsilon=epsilon)
  arm_draw = make_arm_draw(
    batch_size=batch_size,
    partition=partition,
    arms_per_batch=arms_per_batch,
    replacement=replacement,
  )
  if reward is None:
    if num_steps is None:
      raise ValueError(
        "num_steps, of the run, is needed to rank all gains; or give reward, "
        "such as rewards.rank(window=500)"
      )
    reward = rank(num_steps=num_steps)
  first_epsilon = epsilon(0) if callable(epsilon) else epsilon
  check_fraction(epsilon=first_epsilon)
  if warmup is None:
    warmup = 100 if num_steps is None else min(100, num_steps // 10)
  check_at_least(0, warmup=warmup)
  check_at_least(1, interval=interval)
  if num_steps is not None and warmup + interval > num_steps:
    raise ValueError(
      f"warmup {warmup} and interval {interval} leave none of the run's "
      f"{num_steps} steps to learn in; take smaller ones, or a larger budget"
    )

  scores = () if time is None else (time,)

  def init(key: Array, pool: Pool) -> ActiveBanditState:
    check_scores(pool, scores)
    passes = arm_draw.start(key, pool)
    gain.check(pool)
    num_arms = pool.partitions[partition].size.shape[0]
    return ActiveBanditState(
      step=jnp.int32(0),
      epsilon=jnp.float32(first_epsilon),
      warmup=jnp.int32(warmup),
      bandit=bandit.init(num_arms),
      reward=reward.init(
        jax.random.fold_in(key, 1), min(arm_draw.arms_per_batch, num_arms)
      ),
      passes=passes,
      ignored=jnp.int32(0),
    )

  def sample(key: Array, state: ActiveBanditState, pool: Pool) -> Draw:
    key_policy, key_arm, key_slot = jax.random.split(key, 3)
    policy = bandit.policy(key_policy, state.bandit)
    policy = (1 - state.epsilon) * policy + state.epsilon / policy.shape[0]
    return arm_draw.draw(key_arm, key_slot, state.passes, pool, policy)

  def measure(key: Array, info: StepInfo) -> Feedback:
    arms = info.pool.partitions[partition]
    feedback = gain.measure(key, info, arms)
    if time is None:
      return feedback
    return per_time(feedback, info, time, arms.size.shape[0])

  def update(
    state: ActiveBanditState, draw: Draw, feedback: Feedback | tuple[()]
  ) -> ActiveBanditState:
    if feedback:
      most_paid = min(arm_draw.arms_per_batch, draw.policy.shape[0])
      state = _learn(bandit, reward, state, draw.policy, feedback, most_paid)
    step = count_up(state.step)
    if callable(epsilon):
      with standard_promotion():  # schedules of optax need it
        next_epsilon = jnp.clip(epsilon(step), 0, 1).astype(jnp.float32)
      state = state._replace(epsilon=next_epsilon)
    return state._replace(
      step=step, passes=arm_draw.advance(state.passes, draw)
    )

  return Sampler(
    init,
    sample,
    update,
    Signal(measure, interval, gain.prepare, gain.prepare_interval),
    uniform_fraction=lambda state: state.epsilon,
    spec=SamplerSpec(
      partitions=tuple(dict.fromkeys((partition, *gain.partitions))),
      arm_partition=partition,
      scores=scores,
      reads_penalty=gain.reads_penalty,
    ),
  )
