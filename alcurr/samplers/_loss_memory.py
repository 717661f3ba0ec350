"""A memory of each example's loss, before the update that trained on it.

Shared by the samplers that remember losses. It costs O(B log B) a step and no
forward pass, since the training step has the losses already.
"""

from typing import NamedTuple

import jax.numpy as jnp

from alcurr.core.counters import count_up
from alcurr.samplers._sum_tree import last_writes
from alcurr.types import Array, Pool, Signal

_ROW = 4096
# Of the B examples trained on: [B] float32.
LOSS_SIGNAL = Signal(lambda key, info: info.loss)


class LossMemory(NamedTuple):
  loss: Array  # [N] float32, the last finite one; 0 where none was seen
  seen: Array  # [N] bool, whether there was one
  ignored: Array  # [] int32, losses that were not finite


def check_batch(batch_size: int, pool: Pool) -> None:
  """Raises ValueError for a batch larger than the pool."""
  num_examples = pool.label.shape[0]
  if batch_size > num_examples:
    text = f"batch_size {batch_size} is larger than the pool, {num_examples}"
    raise ValueError(text)


def start(num_examples: int) -> LossMemory:
  """Returns a memory of N examples, none of them seen."""
  return LossMemory(
    loss=jnp.zeros(num_examples, jnp.float32),
    seen=jnp.zeros(num_examples, bool),
    ignored=jnp.int32(0),
  )


def learn(
  memory: LossMemory, index: Array, feedback: Array | tuple[()]
) -> LossMemory:
  """Remembers the losses [B] of examples `index` [B], if they were measured.

  Of an example that is in the batch twice, the last finite loss counts. Losses
  that are not finite are counted, and change nothing else.
  """
  if isinstance(feedback, tuple):
    return memory
  finite = jnp.isfinite(feedback)
  place = last_writes(index, finite)
  loss = feedback.astype(jnp.float32)
  return LossMemory(
    loss=memory.loss.at[place].set(loss, mode="drop"),
    seen=memory.seen.at[place].set(True, mode="drop"),
    ignored=count_up(memory.ignored, (~finite).sum(dtype=jnp.int32)),
  )


def count_seen(memory: LossMemory) -> Array:
  """Returns how many examples have a loss: [] int32."""
  return memory.seen.sum(dtype=jnp.int32)


def mean_loss(memory: LossMemory) -> Array:
  """Returns the mean loss of the examples seen, 0 for none: [] float32."""
  # Summed by rows: one float32 stops counting near 2^24 losses. Unseen are 0.
  rows = jnp.pad(memory.loss, (0, -memory.loss.shape[0] % _ROW))
  total = rows.reshape(-1, _ROW).sum(1).sum()
  return total / jnp.maximum(count_seen(memory), 1).astype(jnp.float32)


def leading(old: Array, value: Array, new: Array, weight: Array) -> Array:
  """Returns the leader of two running means of which only one is stored.

  All are [B]. Old means count half, as does the new weight. If the new leader
  is another than the old one, the old mean is forgotten.

  Returns:
    The leaders, and their means.
  """
  value, weight = value / 2, weight / 2
  same = old == new
  leads = same | (weight > value)
  mean = jnp.where(same, value + weight, jnp.where(leads, weight, value))
  return jnp.where(leads, new, old), mean
