"""Aioli: tries each group in turn, and moves to those that lower the losses.

Chen et al. 2024, "Aioli: A Unified Optimization Framework for Language Model
Data Mixing", arXiv:2411.05735, algorithms 1 and 2. Each round learns how
training on group j lowers the held-out loss L_i of group i. For each j in turn
the model trains n steps on the mixture P_j, a smoothed one-hot of group j
(share a there, the rest even), which lowers L_i by B_ij:

  A = B P^-1, from B_i = P A_i            for each group i
  A <- (A - min(A, 0)) / Σ A              normalised
  p_j <- p_j exp(η Σ_i A_ij)              p = 1/K at first

The rest of the round trains on p. The learning takes the share δ of a round.

Losses fall fastest at first, so an early turn looks better than a late one. The
order of the turns, which is ours, favours no group: forth and back within a
round (1 2 2 1), and the other way round in the next (2 1 1 2). Ours, too: the
held-out loss of a group is that of some fixed examples of the probe pool,
evenly spaced in their order; and losses that are not finite are ignored and
counted.

Cost: at each n-th step, a forward pass on K x `per_group` examples. State
O(K²).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.core.arguments import (
  check_at_least,
  check_positive,
  check_positive_fraction,
)
from alcurr.core.counters import count_up
from alcurr.samplers._arm_draw import make_arm_draw
from alcurr.types import (
  Array,
  Draw,
  Partition,
  Pool,
  PyTree,
  Sampler,
  SamplerSpec,
  Signal,
  StepInfo,
)

_MOST = 1e6  # of a drop of a loss


class AioliState(NamedTuple):
  segment: Array  # [] int32, of n steps, in the round
  num_segments: Array  # [] int32, of a round
  is_odd: Array  # [] bool, the round, whose turns go the other way round
  weight: Array  # [K] float32, p
  policy: Array  # [K] float32, of this segment
  drops: Array  # [K, K] float32, B of this round so far
  loss: Array  # [K] float32, at the end of the last segment
  known: Array  # [] bool, whether a loss was measured
  one_hot: Array  # [] float32, a
  learning_rate: Array  # [] float32, η
  passes: PyTree  # over the groups, see `_arm_draw`
  ignored: Array  # [] int32, losses that were not finite


def even_examples(arms: Partition, per_group: int) -> Array:
  """Returns evenly spaced examples of each arm: index [K, per_group] int32."""
  number = np.arange(per_group, dtype=np.int32)[None]
  size = jnp.asarray(arms.size)[:, None]
  # Whole numbers: their product with the size may not fit int32.
  place = size // per_group * number + size % per_group * number // per_group
  return arms.order[jnp.asarray(arms.start)[:, None] + place]


def interactions(drops: Array, one_hot: Array) -> Array:
  """Returns the normalised A [K, K] of drops B, a column for each mixture."""
  num_arms = drops.shape[0]
  other = (1 - one_hot) / (num_arms - 1)
  # P has one_hot on its diagonal, and its rows sum to 1.
  effect = (drops - other * drops.sum(1, keepdims=True)) / (one_hot - other)
  effect -= jnp.minimum(effect.min(), 0)
  total = effect.sum()
  return effect / jnp.where(total > 0, total, 1)


def _round_up(number: float) -> int:
  """Returns the next whole number, but for rounding errors."""
  return math.ceil(round(number, 6))


def _turn(segment: Array, is_odd: Array, num_arms: int) -> Array:
  """Returns the group whose turn it is in a segment, [] int32."""
  place = segment % num_arms
  is_back = ((segment // num_arms) % 2 == 1) != is_odd
  return jnp.where(is_back, num_arms - 1 - place, place)


def _advance(state: AioliState, loss: Array, num_trials: int) -> AioliState:
  """Ends a segment, of which a round has `num_trials` to learn from."""
  num_arms = loss.shape[0]
  finite = jnp.isfinite(loss)
  drop = jnp.where(finite & state.known, state.loss - loss, 0)
  drop = jnp.clip(drop, -_MOST, _MOST)
  is_trial = state.known & (state.segment < num_trials)
  arm = _turn(state.segment, state.is_odd, num_arms)
  drops = state.drops.at[:, arm].add(jnp.where(is_trial, drop, 0))
  segment = state.segment + state.known.astype(jnp.int32)
  # Only the relative size of the drops matters, so their sums serve as means.
  effect = interactions(drops, state.one_hot).sum(0)
  logits = jnp.log(jnp.maximum(state.weight, 1e-30))
  moved = jax.nn.softmax(logits + state.learning_rate * effect)
  ends_trials = state.known & (segment == num_trials)
  weight = jnp.where(ends_trials, moved, state.weight)
  ends_round = segment >= state.num_segments
  segment = jnp.where(ends_round, 0, segment)
  is_odd = state.is_odd != ends_round
  other = (1 - state.one_hot) / (num_arms - 1)
  arm = _turn(segment, is_odd, num_arms)
  is_arm = jnp.arange(num_arms, dtype=jnp.int32) == arm
  trial = jnp.where(is_arm, state.one_hot, other)
  return state._replace(
    segment=segment,
    is_odd=is_odd,
    weight=weight,
    policy=jnp.where(segment < num_trials, trial, weight),
    drops=jnp.where(ends_trials, 0, drops),
    loss=jnp.where(finite, loss, state.loss),
    known=state.known | finite.all(),
    ignored=count_up(state.ignored, (~finite).sum(dtype=jnp.int32)),
  )


def aioli(
  *,
  batch_size: int,
  interval: int = 10,
  sweeps: int = 2,
  learning_share: float = 0.128,
  one_hot: float = 0.625,
  learning_rate: float = 0.2,
  per_group: int = 16,
  partition: str = "groups",
  replacement: bool = False,
  num_steps: int | None = None,
) -> Sampler:
  """Draws groups by how training on each lowers the held-out losses of all.

  Args:
    batch_size: B; a group is drawn for every example.
    interval: n, the steps of a segment, which trains on one mixture.
    sweeps: turns of every group in a round; even numbers favour none.
    learning_share: δ, the share of a round in which groups take turns, in
      (0, 1].
    one_hot: a, the share of the group whose turn it is, above 1 / K and at
      most 1.
    learning_rate: η, in [1e-18, 1e18].
    per_group: held-out examples of each group for its loss.
    partition: the name in `pool.partitions` of the arms to mix.
    replacement: within a group, draw with replacement; else by shuffled passes
      over each group.
    num_steps: of the run, which must last for the turns of a round. None if
      unknown.
  """
  check_at_least(1, interval=interval, sweeps=sweeps, per_group=per_group)
  check_positive_fraction(learning_share=learning_share, one_hot=one_hot)
  check_positive(learning_rate=learning_rate)
  arm_draw = make_arm_draw(
    batch_size=batch_size, partition=partition, replacement=replacement
  )

  def init(key: Array, pool: Pool) -> AioliState:
    passes = arm_draw.start(key, pool)
    num_arms = pool.partitions[partition].size.shape[0]
    check_at_least(2, **{f"the arms of {partition!r}": num_arms})
    if one_hot * num_arms <= 1:
      text = f"one_hot must be above 1 / {num_arms}, got {one_hot}"
      raise ValueError(text)
    needed = num_arms * sweeps * interval + 1
    if num_steps is not None and num_steps < needed:
      raise ValueError(
        f"the turns of {num_arms} groups take {needed} steps, and the run has "
        f"{num_steps}; take a smaller interval, or a larger budget"
      )
    uniform = jnp.full(num_arms, 1 / num_arms, jnp.float32)
    return AioliState(
      segment=jnp.int32(0),
      num_segments=jnp.int32(_round_up(num_arms * sweeps / learning_share)),
      is_odd=jnp.bool_(False),
      weight=uniform,
      policy=jnp.copy(uniform),
      drops=jnp.zeros((num_arms, num_arms), jnp.float32),
      loss=jnp.zeros(num_arms, jnp.float32),
      known=jnp.bool_(False),
      one_hot=jnp.float32(one_hot),
      learning_rate=jnp.float32(learning_rate),
      passes=passes,
      ignored=jnp.int32(0),
    )

  def sample(key: Array, state: AioliState, pool: Pool) -> Draw:
    key_arm, key_slot = jax.random.split(key)
    return arm_draw.draw(key_arm, key_slot, state.passes, pool, state.policy)

  def measure(key: Array, info: StepInfo) -> Array:
    """Returns the held-out loss of each group after the update, [K]."""
    arms = info.probe.partitions[partition]
    index = even_examples(arms, per_group)
    batch = info.gather(info.probe, index.reshape(-1))
    loss = info.loss_fn(info.new_params, batch).astype(jnp.float32)
    # A group of which the probe has no example teaches nothing.
    return jnp.where(arms.size > 0, loss.reshape(index.shape).mean(1), 0)

  def update(
    state: AioliState, draw: Draw, feedback: Array | tuple[()]
  ) -> AioliState:
    if not isinstance(feedback, tuple):
      num_trials = feedback.shape[0] * sweeps
      state = _advance(state, feedback, num_trials)
    return state._replace(passes=arm_draw.advance(state.passes, draw))

  return Sampler(
    init,
    sample,
    update,
    Signal(measure, interval),
    spec=SamplerSpec(partitions=(partition,), arm_partition=partition),
  )
