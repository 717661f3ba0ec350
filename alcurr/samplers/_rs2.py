"""RS2: a fresh random subset of the pool, again and again.

Okanovic et al. (2024, "Repeated Random Sampling for Minimizing the
Time-to-Accuracy of Learning"): instead of a subset that is selected once, each
epoch trains on a new random share r of the pool. It is the baseline that data
pruning and coreset selection have to beat, and most did not beat it.

  a subset       n = ceil(r N) examples, drawn without replacement
  replacement    each subset is drawn from the whole pool
  otherwise      from the examples that no subset had yet, until the pool is
                 used up and its order is shuffled again
  then           e passes over the subset, each in a new order; in the paper one

In a stream of batches with a budget in steps, little of the method is left to
the sampler. With e = 1 and without replacement it is `uniform` by passes, in
another random order. With replacement, the examples that a subset misses may be
missed again. The rest of RS2 is a learning rate that decays over the steps of
the short run, which it does in all runs of ours, and an evaluation after each
subset. Subsets that are used repeatedly, e > 1, are ours: as if only r N
examples were in reach at a time.

Without replacement, the subset in which the pool is used up takes its other
examples from the new order, and may hold an example twice. Cost: O(B) index
arithmetic a step, no feedback.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.core.arguments import check_at_least, check_positive_fraction
from alcurr.samplers import cursor
from alcurr.types import Array, Draw, Pool, PyTree, Sampler


class RS2State(NamedTuple):
  # Of one group each: over the pool, at the first example of the subset; and
  # over the places [0, n) of a subset.
  pool: cursor.Cursor
  subset: cursor.Cursor


def rs2(
  *,
  batch_size: int,
  share: float = 0.1,
  passes: int = 1,
  replacement: bool = False,
) -> Sampler:
  """Draws by shuffled passes over random subsets, one after the other.

  Args:
    batch_size: B, at least 1.
    share: r, of the pool in a subset, in (0, 1].
    passes: e, over a subset before the next one.
    replacement: whether a subset may have examples of the ones before it.

  Returns:
    A sampler whose `init` raises ValueError for a subset smaller than a batch.
  """
  check_at_least(1, batch_size=batch_size, passes=passes)
  check_positive_fraction(share=share)

  def init(key: Array, pool: Pool) -> RS2State:
    num_examples = pool.label.shape[0]
    # The factor absorbs the rounding error of float64 at a whole number.
    size = int(np.ceil(num_examples * share * (1 - 1e-12)))
    if size < batch_size:
      raise ValueError(
        f"a share of {share} of {num_examples} examples is {size}, too few for "
        f"a batch of {batch_size}; take a larger share or a smaller batch"
      )
    key_pool, key_subset = jax.random.split(key)
    return RS2State(
      cursor.start(key_pool, jnp.array([num_examples], jnp.int32)),
      cursor.start(key_subset, jnp.array([size], jnp.int32)),
    )

  def to_next(state: RS2State) -> Array:
    """Returns how far the next subset is in the pool's passes: [1] int32."""
    # With replacement, each subset begins a pass of its own.
    return state.pool.size if replacement else state.subset.size

  def starts_subset(epoch: Array) -> Array:
    return epoch % passes == 0

  def sample(key: Array, state: RS2State, pool: Pool) -> Draw:
    group = jnp.zeros(batch_size, jnp.int32)
    slot = jnp.arange(batch_size, dtype=jnp.int32)
    place = cursor.look_ahead(state.subset, group, slot)
    # A batch is no larger than a subset, and so reaches into one pass more.
    in_next = slot >= state.subset.size - state.subset.position
    in_next &= starts_subset(state.subset.epoch + 1)
    index = cursor.look_ahead(
      state.pool, group, place + jnp.where(in_next, to_next(state), 0)
    )
    ones = jnp.ones(batch_size, jnp.float32)
    return Draw(index, ones, ones)

  def update(state: RS2State, draw: Draw, feedback: PyTree) -> RS2State:
    subset = cursor.advance(state.subset, jnp.array([batch_size], jnp.int32))
    ended = (subset.epoch > state.subset.epoch) & starts_subset(subset.epoch)
    pool = cursor.advance(state.pool, jnp.where(ended, to_next(state), 0))
    return RS2State(pool, subset)

  return Sampler(init, sample, update)
