"""Draws batches from the arms of a partition, given a policy over them.

Shared by all samplers with arms. Cost: O(B) index arithmetic a step.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import binom

from alcurr.core.arguments import check_at_least
from alcurr.samplers import cursor
from alcurr.types import Array, Draw, Pool, PyTree


class ArmDraw(NamedTuple):
  """The functions of `make_arm_draw`, and its number of groups."""

  arms_per_batch: int  # m, groups of a batch, each from an arm of its own
  start: Callable[[Array, Pool], PyTree]  # (key, pool) -> passes over the arms
  # (key of the arms, key of the slots, passes, pool, policy [K]) -> Draw
  draw: Callable[[Array, Array, PyTree, Pool, Array], Draw]
  advance: Callable[[PyTree, Draw], PyTree]  # (passes, draw) -> passes


def _count_before(arm: Array, num_arms: int) -> Array:
  """Returns how many earlier entries of `arm` [m] are the same: [m] int32."""
  chosen = jax.nn.one_hot(arm, num_arms, dtype=jnp.int32)
  before = jnp.cumsum(chosen, axis=0, dtype=jnp.int32) - chosen
  return before[np.arange(arm.shape[0]), arm]


def check_partition(pool: Pool, name: str) -> None:
  """Raises ValueError if the pool lacks the partition."""
  if name not in pool.partitions:
    text = f"the pool has partitions {sorted(pool.partitions)}, not {name!r}; "
    text += "alcurr.data.PARTITIONS has functions that make one of labels or "
    text += "difficulty, and make_partition any other"
    raise ValueError(text)


def make_arm_draw(
  *,
  batch_size: int,
  partition: str,
  arms_per_batch: int | None = None,
  replacement: bool = False,
  allow_empty: bool = False,
) -> ArmDraw:
  """Returns the functions that draw batches from a partition's arms.

  Args:
    batch_size: B.
    partition: a name in `pool.partitions`.
    arms_per_batch: m, a divisor of B: groups of B / m examples, each from an
      arm drawn from the policy. None: B, an arm for every example.
    replacement: within an arm, draw uniformly with replacement; else by
      shuffled passes over each arm. The `prob` of a draw is that of its slot
      in the current pass: where a batch may hold more examples of an arm than
      the arm has, it ignores the next pass.
    allow_empty: whether arms may be empty; the policy must never draw them.
  """
  check_at_least(1, batch_size=batch_size)
  if arms_per_batch is None:
    arms_per_batch = batch_size
  if arms_per_batch < 1 or batch_size % arms_per_batch:
    text = f"arms_per_batch must divide {batch_size}, got {arms_per_batch}"
    raise ValueError(text)
  group_size = batch_size // arms_per_batch

  def start(key: Array, pool: Pool) -> PyTree:
    check_partition(pool, partition)
    size = pool.partitions[partition].size
    if allow_empty:
      # An arm that is never drawn has passes too, over one example.
      size = jnp.maximum(size, 1)
    needed = 1 if replacement else group_size
    if not isinstance(size, jax.core.Tracer) and size.min() < needed:
      raise ValueError(
        f"the smallest of the {size.shape[0]} arms of {partition!r} has "
        f"{size.min()} examples, too few for a draw of {needed}; take fewer "
        "arms, a smaller batch, or replacement=True"
      )
    return () if replacement else cursor.start(key, size)

  def draw(
    key_arm: Array, key_slot: Array, passes: PyTree, pool: Pool, policy: Array
  ) -> Draw:
    arms = pool.partitions[partition]
    num_arms = arms.size.shape[0]
    chosen = jax.random.categorical(
      key_arm, jnp.log(policy), shape=(arms_per_batch,)
    ).astype(jnp.int32)
    arm = jnp.repeat(chosen, group_size)
    if replacement:
      slot = jax.random.randint(
        key_slot, arm.shape, 0, arms.size[arm], jnp.int32
      )
      prob = policy[arm] / arms.size[arm].astype(jnp.float32)
    else:
      before = _count_before(chosen, num_arms)
      within = jnp.tile(jnp.arange(group_size, dtype=jnp.int32), arms_per_batch)
      ahead = jnp.repeat(before * group_size, group_size) + within
      slot = cursor.look_ahead(passes, arm, ahead)
      # The g-th group draws this part of the arm's pass if it draws the arm,
      # and exactly `before` of the g groups ahead of it did.
      number = jnp.arange(arms_per_batch, dtype=jnp.float32)
      group_prob = policy[chosen] * binom.pmf(
        before.astype(jnp.float32), number, policy[chosen]
      )
      prob = jnp.repeat(group_prob, group_size)
    index = arms.order[arms.start[arm] + slot]
    weight = jnp.ones(arm.shape, jnp.float32)
    return Draw(index, prob, weight, arm, policy)

  def advance(passes: PyTree, draw: Draw) -> PyTree:
    if replacement:
      return passes
    count = jax.ops.segment_sum(
      jnp.ones_like(draw.arm), draw.arm, draw.policy.shape[0]
    )
    return cursor.advance(passes, count)

  return ArmDraw(arms_per_batch, start, draw, advance)
