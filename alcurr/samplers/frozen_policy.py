"""A policy over arms that is given and does not learn.

The control of every bandit: what is its last policy worth from the start, the
open-loop replay of it, the best fixed policy of a grid? With the arms "label"
and a draw for each example it is class-balanced uniform sampling. Cost: O(B)
index arithmetic a step, no feedback.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.samplers.by_arm import by_arm
from alcurr.samplers.policies import Policy
from alcurr.types import Array, Draw, Pool, PyTree, Sampler, learn_nothing


class FrozenPolicyState(NamedTuple):
  step: Array  # [] int32
  table: Array  # [P, K] float32, a row for each span of the run
  num_steps: Array  # [] int32, of the run
  passes: PyTree  # over the arms, see by_arm


def frozen_policy(
  policy: Policy,
  *,
  batch_size: int,
  num_steps: int,
  arms: str = "difficulty",
  arms_per_batch: int = 1,
  replacement: bool = False,
) -> Sampler:
  """Arms drawn from a given distribution.

  Args:
    policy: see `alcurr.samplers.policies`.
    batch_size: B.
    num_steps: steps of the run, over which the rows of the policy spread.
    arms: the name of the partition in `pool.arms`.
    arms_per_batch: m, a divisor of B, see `active_bandit`.
    replacement: within an arm, draw with replacement; else by shuffled
      passes over each arm.
  """
  by = by_arm(
    batch_size=batch_size,
    arms=arms,
    arms_per_batch=arms_per_batch,
    replacement=replacement,
  )
  if num_steps < 1:
    raise ValueError(f"num_steps must be at least 1, got {num_steps}")

  def init(key: Array, pool: Pool) -> FrozenPolicyState:
    passes = by.start(key, pool)
    table = policy(pool.arms[arms].size.shape[0])
    return FrozenPolicyState(
      step=jnp.int32(0),
      table=jnp.asarray(table, jnp.float32),
      num_steps=jnp.int32(num_steps),
      passes=passes,
    )

  def sample(key: Array, state: FrozenPolicyState, pool: Pool) -> Draw:
    key_arm, key_slot = jax.random.split(key)
    # Rows of equal spans, rounded up; the last may be shorter.
    rows = state.table.shape[0]
    span = -(-state.num_steps // rows)
    row = jnp.minimum(state.step // span, rows - 1)
    return by.draw(key_arm, key_slot, state.passes, pool, state.table[row])

  def update(
    state: FrozenPolicyState, draw: Draw, feedback: PyTree
  ) -> FrozenPolicyState:
    return state._replace(
      step=state.step + 1, passes=by.advance(state.passes, draw)
    )

  return Sampler(init, sample, learn_nothing, update, needs=(arms,))
