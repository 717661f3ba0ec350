"""Prunes easy examples at random, pass by pass, and weights the rest.

From Qin, Wang, Zheng, Gu, Peng, Xu, Zhou, Shang, Sun, Xie and You (2024),
"InfoBatch: Lossless Training Speed Up by Unbiased Dynamic Data Pruning". With
l_i the loss of example i at its last visit, before each pass:

  l_i <  mean l   left out with probability r; if not, its weight is 1 / (1 - r)
  l_i >= mean l   trained on, with weight 1

so that the expected gradient of a pass is that of the whole pool. From step
delta T of T on, passes are whole and all weights 1.

An example without a finite loss so far has none: it is not in the mean, and is
always trained on. The authors' code gives it a loss of 3 instead, which is the
same as long as the first pass is whole; and it leaves out exactly r of the
easy ones, where here, as in the paper, each is left out independently. Ours
too: the last, whole part begins at its step, even within a pass.

Cost: no forward pass; O(B log B) a step, and O(N) at the end of each pass,
which under vmap is paid at every step. State: 9 bytes an example. It saves r
P(l < mean l) of the steps of a pass.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_at_least, check_fraction
from alcurr.core.counters import count_up
from alcurr.samplers import _loss_memory, _subset_passes
from alcurr.samplers._loss_memory import LossMemory
from alcurr.samplers._subset_passes import SubsetPasses
from alcurr.types import Array, Draw, Pool, Sampler, SamplerSpec


class InfoBatchState(NamedTuple):
  step: Array  # [] int32, updates so far
  stop: Array  # [] int32, the step from which on nothing is pruned
  memory: LossMemory
  passes: SubsetPasses  # the examples of weight 1 come first
  num_full: Array  # [] int32, examples of weight 1 in the pass
  key: Array  # [] PRNG key of the pruning


def _begin_pass(
  state: InfoBatchState, prune_ratio: float
) -> tuple[SubsetPasses, Array]:
  """Begins a pass, pruned or whole; also returns its number of weights 1."""
  memory = state.memory
  easy = memory.seen & (memory.loss < _loss_memory.mean_loss(memory))
  easy &= state.step < state.stop
  key = jax.random.fold_in(state.key, state.passes.cursor.epoch[0])
  survives = jax.random.bernoulli(key, 1 - prune_ratio, easy.shape)
  passes, (num_full, num_easy) = _subset_passes.begin_parts(
    state.passes, ~easy, easy & survives
  )
  # If rounding makes all losses smaller than their mean, none may survive.
  none = num_full + num_easy == 0
  return passes, jnp.where(none, easy.shape[0], num_full)


def infobatch(
  *,
  batch_size: int,
  num_steps: int,
  prune_ratio: float = 0.5,
  delta: float = 0.875,
) -> Sampler:
  """Draws by passes that leave out many of the easy examples.

  Args:
    batch_size: B, at least 1.
    num_steps: T, of the run.
    prune_ratio: r in [0, 1), the probability with which an easy example is
      left out of a pass.
    delta: in [0, 1], the share of the run in which passes are pruned.

  Returns:
    A sampler whose `init` raises ValueError for a batch larger than the pool.
  """
  check_at_least(1, batch_size=batch_size, num_steps=num_steps)
  check_fraction(delta=delta)
  if not 0 <= prune_ratio < 1:
    raise ValueError(f"prune_ratio must be in [0, 1), got {prune_ratio}")
  stop = int(delta * num_steps)

  def init(key: Array, pool: Pool) -> InfoBatchState:
    _loss_memory.check_batch(batch_size, pool)
    num_examples = pool.label.shape[0]
    key_order, key_prune = jax.random.split(key)
    return InfoBatchState(
      step=jnp.int32(0),
      stop=jnp.int32(stop),
      memory=_loss_memory.start(num_examples),
      passes=_subset_passes.start(key_order, num_examples),
      num_full=jnp.int32(num_examples),
      key=key_prune,
    )

  def sample(key: Array, state: InfoBatchState, pool: Pool) -> Draw:
    place = _subset_passes.draw_places(state.passes, batch_size)
    weight = jnp.where(place < state.num_full, 1, 1 / (1 - prune_ratio))
    ones = jnp.ones(batch_size, jnp.float32)
    index = state.passes.order[place]
    return Draw(index, ones, weight.astype(jnp.float32))

  def update(
    state: InfoBatchState, draw: Draw, feedback: Array | tuple[()]
  ) -> InfoBatchState:
    step = count_up(state.step)
    state = state._replace(
      step=step,
      memory=_loss_memory.learn(state.memory, draw.index, feedback),
    )
    passes, over = _subset_passes.advance(state.passes, batch_size)
    passes, num_full = jax.lax.cond(
      over | (step == state.stop),
      lambda state: _begin_pass(state, prune_ratio),
      lambda state: (state.passes, state.num_full),
      state._replace(passes=passes),
    )
    return state._replace(passes=passes, num_full=num_full)

  return Sampler(
    init,
    sample,
    update,
    _loss_memory.LOSS_SIGNAL,
    spec=SamplerSpec(per_example_state=True),
  )
