"""Online data mixing: draws the groups whose training loss is largest.

Albalak et al. 2023, "Efficient Online Data Mixing For Language Model
Pre-Training", arXiv:2312.02406, algorithm 1, a form of Exp3 whose reward is the
training loss L_i of a group's examples in the batch:

  ε_t = min(1/K, sqrt(ln K / (K t)))                      ε_0 = 1/K
  p_t(i) = (1 - K ε_t) exp(ε_{t-1} R_i) / Σ_j exp(ε_{t-1} R_j) + ε_t
  R_i <- α R_i + (1 - α) L_i / p_t(i)    for the groups of the batch, R = 0

The authors' repository mixes groups within a batch by another rule:

  R_i <- α R_i + (1 - α) exp(L_i)
  p_t(i) = (1 - K ε_t) R_i / Σ_j R_j + ε_t

Both are arguments, "exponential" and "linear". As the loss is the reward, hard
and noisy groups are drawn most, whether or not the model learns from them.
Ours: losses that are not finite are ignored and counted, and the reward stops
rising at L = 50.

The loss comes from the training forward pass. Cost a step: O(B) index
arithmetic and no further FLOPs of the model.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_choice, check_fraction
from alcurr.core.counters import count_up
from alcurr.samplers._arm_draw import make_arm_draw
from alcurr.samplers._arm_means import arm_means
from alcurr.types import Array, Draw, Pool, PyTree, Sampler, SamplerSpec, Signal

RULES = ("exponential", "linear")
_MOST = 50.0  # a loss, whose exponential float32 holds


class ODMState(NamedTuple):
  step: Array  # [] int32, t: that of the policy
  estimate: Array  # [K] float32, R
  policy: Array  # [K] float32
  smoothing: Array  # [] float32, α
  passes: PyTree  # over the groups, see `_arm_draw`
  ignored: Array  # [] int32, losses that were not finite


def _epsilon(step: Array, num_arms: int) -> Array:
  """Returns ε_t, [] float32; 1 / K before the first step."""
  num = jnp.float32(num_arms)
  t = jnp.maximum(step, 1).astype(jnp.float32)
  bound = jnp.sqrt(jnp.log(num) / (num * t))
  return jnp.where(step > 0, jnp.minimum(1 / num, bound), 1 / num)


def _policy(estimate: Array, step: Array, rule: str) -> Array:
  """Returns p_t, [K] float32."""
  num_arms = estimate.shape[0]
  epsilon = _epsilon(step, num_arms)
  if rule == "exponential":
    share = jax.nn.softmax(_epsilon(step - 1, num_arms) * estimate)
  else:
    total = estimate.sum()
    share = jnp.where(total > 0, estimate, 1 / num_arms)
    share = share / jnp.where(total > 0, total, 1)
  return (1 - num_arms * epsilon) * share + epsilon


def odm(
  *,
  batch_size: int,
  rule: str = "exponential",
  smoothing: float = 0.9,
  partition: str = "groups",
  replacement: bool = False,
) -> Sampler:
  """Draws groups by a bandit that is paid the training loss.

  Args:
    batch_size: B; a group is drawn for every example.
    rule: "exponential", the paper's, or "linear", the repository's.
    smoothing: α, the share of the old estimate, in [0, 1].
    partition: the name in `pool.partitions` of the arms to mix.
    replacement: within a group, draw with replacement; else by shuffled passes
      over each group.
  """
  check_choice(RULES, rule=rule)
  check_fraction(smoothing=smoothing)
  arm_draw = make_arm_draw(
    batch_size=batch_size, partition=partition, replacement=replacement
  )

  def init(key: Array, pool: Pool) -> ODMState:
    passes = arm_draw.start(key, pool)
    num_arms = pool.partitions[partition].size.shape[0]
    estimate = jnp.zeros(num_arms, jnp.float32)
    return ODMState(
      step=jnp.int32(1),
      estimate=estimate,
      policy=_policy(estimate, jnp.int32(1), rule),
      smoothing=jnp.float32(smoothing),
      passes=passes,
      ignored=jnp.int32(0),
    )

  def sample(key: Array, state: ODMState, pool: Pool) -> Draw:
    key_arm, key_slot = jax.random.split(key)
    return arm_draw.draw(key_arm, key_slot, state.passes, pool, state.policy)

  def update(
    state: ODMState, draw: Draw, feedback: Array | tuple[()]
  ) -> ODMState:
    if not isinstance(feedback, tuple):
      loss, count, ignored = arm_means(
        feedback, draw.arm, state.policy.shape[0]
      )
      loss = jnp.minimum(loss, _MOST)
      # Every arm has a probability of at least ε.
      is_paper = rule == "exponential"
      reward = loss / state.policy if is_paper else jnp.exp(loss)
      new = state.smoothing * state.estimate + (1 - state.smoothing) * reward
      step = count_up(state.step)
      estimate = jnp.where(count > 0, new, state.estimate)
      state = state._replace(
        step=step,
        estimate=estimate,
        policy=_policy(estimate, step, rule),
        ignored=count_up(state.ignored, ignored),
      )
    return state._replace(passes=arm_draw.advance(state.passes, draw))

  def uniform_fraction(state: ODMState) -> Array:
    num_arms = state.policy.shape[0]
    return num_arms * _epsilon(state.step, num_arms)

  return Sampler(
    init,
    sample,
    update,
    Signal(lambda key, info: info.loss),
    uniform_fraction=uniform_fraction,
    spec=SamplerSpec(partitions=(partition,), arm_partition=partition),
  )
