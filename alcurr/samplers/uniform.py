"""Uniform sampling, the baseline of every comparison.

Without replacement: shuffled passes over the whole pool, each in a new order.
With replacement: every slot draws any example. Cost: O(B) index arithmetic a
step, no feedback.
"""

import jax
import jax.numpy as jnp

from alcurr.samplers import cursor
from alcurr.types import Array, Draw, Pool, PyTree, Sampler, learn_nothing


def uniform(*, batch_size: int, replacement: bool = False) -> Sampler:
  """Every example is as likely as any other.

  Args:
    batch_size: B, at least 1.
    replacement: whether an example may come again before all others came.

  Returns:
    A sampler whose one arm is the pool.
  """
  if batch_size < 1:
    raise ValueError(f"batch_size must be at least 1, got {batch_size}")

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
    arm = jnp.zeros(batch_size, jnp.int32)
    ones = jnp.ones(batch_size, jnp.float32)
    if replacement:
      index = jax.random.randint(key, (batch_size,), 0, num_examples)
      prob = ones / num_examples
    else:
      index = cursor.look_ahead(state, arm, jnp.arange(batch_size))
      prob = ones
    return Draw(index, arm, prob, ones, policy=jnp.ones(1, jnp.float32))

  def update(state: PyTree, draw: Draw, feedback: PyTree) -> PyTree:
    if replacement:
      return state
    return cursor.advance(state, jnp.array([batch_size], jnp.int32))

  return Sampler(init, sample, learn_nothing, update, needs=())
