"""R&B: draws the groups whose gradients agree with an evaluation mixture's.

Ge et al. 2025, "R&B: Domain Regrouping and Data Mixture Balancing for Efficient
Foundation Model Training", arXiv:2505.00358, the balancing half. With g_k the
gradient of the mean loss of group k, and q the mixture to be good at:

  G_jk = <g_j, g_k>       p_j <- p_j exp(η (G q)_j), normalised

To first order, (G q)_j is how much a small step on group j lowers the loss on
the mixture q: (G q)_j = <g_j, Σ_k q_k g_k>. So the gain `influence` measures it
with a probe drawn by q, and the mean over the batch's examples of group j.

Ours: g_q is taken on the probe pool, not on the training batches of the groups;
p moves at each measurement, not after a round of accumulated gradients; groups
that the batch lacks stay as they are relative to the mean; a share of uniform
draws keeps every group measured; and influences that are not finite are ignored
and counted. For the regrouping half, see the partition `clusters`.

Cost: that of `influence`, at every `interval`-th step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.bandits.gains import influence
from alcurr.core.arguments import check_at_least, check_fraction, check_positive
from alcurr.core.counters import count_up
from alcurr.core.mixtures import Weights
from alcurr.samplers._arm_draw import make_arm_draw
from alcurr.samplers._arm_means import arm_means
from alcurr.types import (
  Array,
  Draw,
  Feedback,
  Pool,
  PyTree,
  Sampler,
  SamplerSpec,
  Signal,
  StepInfo,
)

_MOST = 1e6  # of η times an influence


class RBState(NamedTuple):
  logits: Array  # [K] float32, log p up to a constant, at most 0
  learning_rate: Array  # [] float32, η
  uniform_fraction: Array  # [] float32
  passes: PyTree  # over the groups, see `_arm_draw`
  ignored: Array  # [] int32, influences that were not finite


def _learn(state: RBState, feedback: Feedback) -> RBState:
  """Multiplies p by exp(η r), r [K] the mean influences of the groups."""
  num_arms = state.logits.shape[0]
  mean, count, ignored = arm_means(feedback.gain, feedback.arm, num_arms)
  # In this range float32 can compare any two.
  step = jnp.clip(state.learning_rate * mean, -_MOST, _MOST)
  paid = (count > 0).astype(jnp.float32)
  typical = (paid * step).sum() / jnp.maximum(paid.sum(), 1)
  logits = state.logits + jnp.where(count > 0, step - typical, 0)
  # A group may return: its logit does not fall without end.
  logits = jnp.maximum(logits - logits.max(), -_MOST)
  return state._replace(logits=logits, ignored=count_up(state.ignored, ignored))


def rb(
  *,
  batch_size: int,
  mixture: Weights = None,
  learning_rate: float = 0.1,
  uniform_fraction: float = 0.1,
  probe_size: int = 64,
  prepare_interval: int = 1,
  interval: int = 1,
  partition: str = "groups",
  replacement: bool = False,
) -> Sampler:
  """Draws groups by the agreement of their gradients with a mixture's.

  Args:
    batch_size: B; a group is drawn for every example.
    mixture: q, a weight for each group, by name or in their order. None: their
      natural shares in the probe pool.
    learning_rate: η, in [1e-18, 1e18].
    uniform_fraction: the share of uniform draws, in [0, 1].
    probe_size: examples drawn from the probe pool for g_q.
    prepare_interval: measurements that one g_q serves.
    interval: influences are measured at each n-th step.
    partition: the name in `pool.partitions` of the arms to mix.
    replacement: within a group, draw with replacement; else by shuffled passes
      over each group.
  """
  check_positive(learning_rate=learning_rate)
  check_fraction(uniform_fraction=uniform_fraction)
  check_at_least(1, interval=interval)
  gain = influence(
    probe_size=probe_size,
    prepare_interval=prepare_interval,
    mixture=mixture,
    mixture_of=partition,
  )
  arm_draw = make_arm_draw(
    batch_size=batch_size, partition=partition, replacement=replacement
  )

  def init(key: Array, pool: Pool) -> RBState:
    passes = arm_draw.start(key, pool)
    gain.check(pool)
    num_arms = pool.partitions[partition].size.shape[0]
    return RBState(
      logits=jnp.zeros(num_arms, jnp.float32),
      learning_rate=jnp.float32(learning_rate),
      uniform_fraction=jnp.float32(uniform_fraction),
      passes=passes,
      ignored=jnp.int32(0),
    )

  def sample(key: Array, state: RBState, pool: Pool) -> Draw:
    key_arm, key_slot = jax.random.split(key)
    share = jax.nn.softmax(state.logits)
    uniform = state.uniform_fraction / share.shape[0]
    policy = (1 - state.uniform_fraction) * share + uniform
    return arm_draw.draw(key_arm, key_slot, state.passes, pool, policy)

  def measure(key: Array, info: StepInfo) -> Feedback:
    return gain.measure(key, info, info.pool.partitions[partition])

  def update(
    state: RBState, draw: Draw, feedback: Feedback | tuple[()]
  ) -> RBState:
    if feedback:
      state = _learn(state, feedback)
    return state._replace(passes=arm_draw.advance(state.passes, draw))

  return Sampler(
    init,
    sample,
    update,
    Signal(measure, interval, gain.prepare, gain.prepare_interval),
    uniform_fraction=lambda state: state.uniform_fraction,
    spec=SamplerSpec(partitions=(partition,), arm_partition=partition),
  )
