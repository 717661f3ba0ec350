"""A policy over arms that does not learn.

It is the control of every bandit: how good is the bandit's last policy from the
start, an open-loop replay of its policy, or the best fixed policy of a grid?
Over classes, `class_balanced` follows their frequencies. Cost: O(B) index
arithmetic a step, no feedback.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_at_least, check_record
from alcurr.core.counters import count_up
from alcurr.samplers._arm_draw import make_arm_draw
from alcurr.samplers.policies import Policy
from alcurr.types import Array, Draw, Pool, PyTree, Sampler, SamplerSpec


class FixedPolicyState(NamedTuple):
  step: Array  # [] int32
  table: Array  # [P, K] float32, a row for each span of the run
  num_steps: Array  # [] int32, of the run
  passes: PyTree  # over the arms, see `_arm_draw`


def fixed_policy(
  policy: Policy,
  *,
  batch_size: int,
  num_steps: int,
  partition: str = "difficulty",
  arms_per_batch: int | None = None,
  replacement: bool = False,
) -> Sampler:
  """Draws arms by a policy that does not learn.

  Args:
    policy: see `alcurr.samplers.policies`.
    batch_size: B.
    num_steps: steps of the run, over which the rows of the policy spread.
    partition: the name of the arms in `pool.partitions`.
    arms_per_batch: m, a divisor of B; None for B, so that a batch mixes the
      arms in the policy's proportions. With 1 a batch is of a single arm: over
      `partition="label"`, of a single class, which hardly trains a classifier.
      This and `replacement` are as in `active_bandit`.
  """
  check_record(Policy, policy=policy)
  arm_draw = make_arm_draw(
    batch_size=batch_size,
    partition=partition,
    arms_per_batch=arms_per_batch,
    replacement=replacement,
  )
  check_at_least(1, num_steps=num_steps)

  def init(key: Array, pool: Pool) -> FixedPolicyState:
    passes = arm_draw.start(key, pool)
    table = policy(pool.partitions[partition].size.shape[0])
    return FixedPolicyState(
      step=jnp.int32(0),
      table=jnp.asarray(table, jnp.float32),
      num_steps=jnp.int32(num_steps),
      passes=passes,
    )

  def sample(key: Array, state: FixedPolicyState, pool: Pool) -> Draw:
    key_arm, key_slot = jax.random.split(key)
    # Rows of equal spans, rounded up; the last may be shorter.
    rows = state.table.shape[0]
    span = -(-state.num_steps // rows)
    row = jnp.minimum(state.step // span, rows - 1)
    return arm_draw.draw(
      key_arm, key_slot, state.passes, pool, state.table[row]
    )

  def update(
    state: FixedPolicyState, draw: Draw, feedback: PyTree
  ) -> FixedPolicyState:
    return state._replace(
      step=count_up(state.step), passes=arm_draw.advance(state.passes, draw)
    )

  spec = SamplerSpec(partitions=(partition,), arm_partition=partition)
  return Sampler(init, sample, update, spec=spec)
