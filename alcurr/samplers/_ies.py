"""Instance-dependent early stopping: mastered examples are trained on no more.

From Yuan, Lin, Feng, Han and Liu (2025), "Instance-dependent Early Stopping".
With the losses l_t of an example at its visits, it is mastered once

  |l_t - 2 l_{t-1} + l_{t-2}| < threshold

is true of the mean of the left side over the last `window` visits. Passes are
over the examples that are not mastered; if all are, over the whole pool.

The authors' code averages three of them (window=3, from the sixth visit on),
and for 100 classes doubles the threshold. It also computes the losses of
mastered examples after each epoch by a forward pass, so that they may return.
Ours does not: what is mastered stays out, and costs nothing.

Cost: no forward pass; O(B log B) a step, and O(N) at the end of each pass,
which under vmap is paid at every step. State: 14 bytes an example, and 4 more
for each further visit of the window.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_at_least, check_positive
from alcurr.core.counters import count_up
from alcurr.samplers import _subset_passes
from alcurr.samplers._loss_memory import LOSS_SIGNAL, check_batch
from alcurr.samplers._subset_passes import SubsetPasses
from alcurr.samplers._sum_tree import last_writes
from alcurr.types import Array, Draw, Pool, Sampler, SamplerSpec

_LARGEST = 1e30  # of a loss, so that no difference overflows


class IesState(NamedTuple):
  last: Array  # [2, N] float32, the losses at the last two visits, newest first
  # [window - 1, N] float32, second differences before, newest first
  differences: Array
  visits: Array  # [N] int8, with a finite loss so far; stops at window + 1
  mastered: Array  # [N] bool
  passes: SubsetPasses
  ignored: Array  # [] int32, losses that were not finite


def _learn(
  state: IesState, index: Array, loss: Array, threshold: float, window: int
) -> IesState:
  """Learns from the losses of a batch, [B]."""
  finite = jnp.isfinite(loss)
  loss = jnp.where(finite, loss.astype(jnp.float32), 0)
  loss = jnp.clip(loss, -_LARGEST, _LARGEST)
  last, visits = state.last[:, index], state.visits[index]
  # Second differences of losses that were never seen are garbage; `visits`
  # keeps them from being used.
  difference = jnp.abs(loss - 2 * last[0] + last[1])
  recent = jnp.concatenate([difference[None], state.differences[:, index]])
  full = visits == window + 1
  mastered = full & (recent.mean(0) < threshold)
  place = last_writes(index, finite)

  def put(array: Array, values: Array) -> Array:
    return array.at[..., place].set(values, mode="drop")

  return state._replace(
    last=put(state.last, jnp.stack([loss, last[0]])),
    differences=put(state.differences, recent[:-1]),
    visits=put(state.visits, jnp.minimum(visits, window) + 1),
    mastered=put(state.mastered, state.mastered[index] | mastered),
    ignored=count_up(state.ignored, (~finite).sum(dtype=jnp.int32)),
  )


def ies(
  *, batch_size: int, threshold: float = 1e-3, window: int = 1
) -> Sampler:
  """Draws by passes over the examples that are not mastered.

  Args:
    batch_size: B, at least 1.
    threshold: of the second difference of the losses. The authors recommend
      10^-5 to 10^-1; larger ones stop more examples.
    window: the visits whose second differences are averaged, in [1, 100].

  Returns:
    A sampler whose `init` raises ValueError for a batch larger than the pool.
  """
  check_at_least(1, batch_size=batch_size, window=window)
  check_positive(threshold=threshold)
  if window > 100:
    raise ValueError(f"window must be at most 100, got {window}")

  def init(key: Array, pool: Pool) -> IesState:
    check_batch(batch_size, pool)
    num_examples = pool.label.shape[0]
    return IesState(
      last=jnp.zeros((2, num_examples), jnp.float32),
      differences=jnp.zeros((window - 1, num_examples), jnp.float32),
      visits=jnp.zeros(num_examples, jnp.int8),
      mastered=jnp.zeros(num_examples, bool),
      passes=_subset_passes.start(key, num_examples),
      ignored=jnp.int32(0),
    )

  def sample(key: Array, state: IesState, pool: Pool) -> Draw:
    place = _subset_passes.draw_places(state.passes, batch_size)
    ones = jnp.ones(batch_size, jnp.float32)
    return Draw(state.passes.order[place], ones, ones)

  def update(
    state: IesState, draw: Draw, feedback: Array | tuple[()]
  ) -> IesState:
    if not isinstance(feedback, tuple):
      state = _learn(state, draw.index, feedback, threshold, window)
    passes, over = _subset_passes.advance(state.passes, batch_size)
    passes = jax.lax.cond(
      over,
      lambda passes, mastered: _subset_passes.begin_parts(passes, ~mastered)[0],
      lambda passes, mastered: passes,
      passes,
      state.mastered,
    )
    return state._replace(passes=passes)

  spec = SamplerSpec(per_example_state=True)
  return Sampler(init, sample, update, LOSS_SIGNAL, spec=spec)
