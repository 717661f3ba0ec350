"""A memory of each example's loss, before the update that trained on it.

Shared by the samplers that remember losses. It costs O(B log B) a step and no
forward pass, since the training step has the losses already.
"""

from typing import NamedTuple

import jax.numpy as jnp

from alcurr.core.counters import count_up
from alcurr.samplers._sum_tree import last_writes
from alcurr.types import Array, Pool, Signal

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


def remember(memory: LossMemory, index: Array, loss: Array) -> LossMemory:
  """Remembers the losses [B] of examples `index` [B].

  Of an example that is in the batch twice, the last finite loss counts. Losses
  that are not finite are counted, and change nothing else.
  """
  finite = jnp.isfinite(loss)
  place = last_writes(index, finite, memory.loss.shape[0])
  return LossMemory(
    loss=memory.loss.at[place].set(loss.astype(jnp.float32), mode="drop"),
    seen=memory.seen.at[place].set(True, mode="drop"),
    ignored=count_up(memory.ignored, (~finite).sum(dtype=jnp.int32)),
  )
