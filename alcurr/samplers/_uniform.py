"""Uniform sampling, the baseline of every comparison.

Without replacement: shuffled passes over the whole pool, each in a new order.
With replacement: every slot draws any example. Cost: O(B) index arithmetic a
step, no feedback.
"""

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_at_least
from alcurr.samplers import cursor
from alcurr.types import Array, Draw, Pool, PyTree, Sampler


def uniform(*, batch_size: int, replacement: bool = False) -> Sampler:
  """Draws every example with the same probability.

  Args:
    batch_size: B, at least 1.
    replacement: whether to draw with replacement.

  Returns:
    A sampler whose `init` raises ValueError for a batch larger than the pool.
  """
  check_at_least(1, batch_size=batch_size)

  def init(key: Array, pool: Pool) -> PyTree:
    num_examples = pool.label.shape[0]
    if replacement:
      return ()
    if batch_size > num_examples:
      raise ValueError(
        f"batch_size {batch_size} is larger than the pool of {num_examples}; "
        "take a smaller batch or draw with replacement"
      )
    return cursor.start(key, jnp.array([num_examples], jnp.int32))

  def sample(key: Array, state: PyTree, pool: Pool) -> Draw:
    num_examples = pool.label.shape[0]
    ones = jnp.ones(batch_size, jnp.float32)
    if replacement:
      index = jax.random.randint(key, (batch_size,), 0, num_examples, jnp.int32)
      return Draw(index, ones / num_examples, ones)
    whole_pool = jnp.zeros(batch_size, jnp.int32)  # the cursor's only group
    index = cursor.look_ahead(
      state, whole_pool, jnp.arange(batch_size, dtype=jnp.int32)
    )
    return Draw(index, ones, ones)

  def update(state: PyTree, draw: Draw, feedback: PyTree) -> PyTree:
    if replacement:
      return state
    return cursor.advance(state, jnp.array([batch_size], jnp.int32))

  return Sampler(init, sample, update)
