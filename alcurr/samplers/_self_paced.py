"""Self-paced learning: passes over the examples that are easy by now.

From Kumar, Packer and Koller (2010), "Self-Paced Learning for Latent Variable
Models" (hard weights), and Jiang, Meng, Mitamura and Hauptmann (2014), "Easy
Samples First: Self-paced Reranking for Zero-Example Multimedia Search" (linear
and logarithmic ones). The loss weight v of an example with loss l falls with l
and is 0 from the age λ on:

  hard     v = 1                                l <= λ
  linear   v = 1 - l / λ                        l < λ
  log      v = log(l + 1 - λ) / log(1 - λ)      l < λ < 1

The age grows, so that more and harder examples come in: before each pass, λ is
the quantile of the remembered losses below which the share of the examples lies
that is wanted at this step. It grows from `start` in a straight line to 1, at
`full_at` of the run; from there on all examples weigh 1, since the age is
beyond every loss. The first pass is whole.

Ours, not the papers': losses are those of the last visit, instead of a forward
pass over the pool before each pass (which is a third of an epoch). For log,
losses and the age are divided by the largest loss, or the age might exceed 1.
An example without a finite loss so far is in every pass and weighs 1.

Cost: no forward pass; O(B log B) a step, and a sort, O(N log N), at the end of
each pass, which under vmap is paid at every step. State: 9 bytes an example.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import (
  check_at_least,
  check_choice,
  check_positive_fraction,
)
from alcurr.core.counters import count_up
from alcurr.samplers import _loss_memory, _subset_passes
from alcurr.samplers._loss_memory import LossMemory
from alcurr.samplers._subset_passes import SubsetPasses
from alcurr.types import Array, Draw, Pool, Sampler, SamplerSpec


def _log_weight(loss: Array, age: Array, largest: Array) -> Array:
  age = jnp.minimum(age / largest, 1 - 1e-6)
  return jnp.log(loss / largest + 1 - age) / jnp.log1p(-age)


# v, from a loss, the age and the largest loss, where the loss is below the age.
WEIGHTS: dict[str, Callable[[Array, Array, Array], Array]] = {
  "hard": lambda loss, age, largest: jnp.ones_like(loss),
  "linear": lambda loss, age, largest: 1 - loss / age,
  "log": _log_weight,
}


class SelfPacedState(NamedTuple):
  step: Array  # [] int32, updates so far
  num_steps: Array  # [] int32, of the run
  memory: LossMemory
  passes: SubsetPasses
  age: Array  # [] float32, λ of the pass
  largest: Array  # [] float32, the largest loss at its beginning
  whole: Array  # [] bool, whether all examples are in the pass and weigh 1


def _weigh(weights: str, state: SelfPacedState, loss: Array, seen: Array):
  """Returns v of examples with these losses, in [0, 1], of any shape."""
  inside = loss < state.age
  if weights == "hard":
    inside = loss <= state.age
  age = jnp.where(state.age > 0, state.age, 1)
  largest = jnp.where(state.largest > 0, state.largest, 1)
  # Outside the formulas may have no value.
  weight = WEIGHTS[weights](jnp.where(inside, loss, 0), age, largest)
  weight = jnp.where(inside, jnp.clip(weight, 0, 1), 0)
  return jnp.where(seen & ~state.whole, weight, 1)


def _begin_pass(
  weights: str, state: SelfPacedState, share: Array
) -> tuple[SubsetPasses, Array, Array, Array]:
  """Begins a pass over this share of the examples; returns what changed."""
  memory = state.memory
  num_seen = _loss_memory.count_seen(memory)
  # Unseen ones come last.
  ordered = jnp.sort(jnp.where(memory.seen, memory.loss, jnp.inf))
  num_easy = jnp.ceil(share * num_seen.astype(jnp.float32)).astype(jnp.int32)
  last, some = num_seen - 1, num_seen > 0
  age = jnp.where(some, ordered[jnp.clip(num_easy - 1, 0, last)], 0)
  largest = jnp.where(some, ordered[jnp.maximum(last, 0)], 0)
  state = state._replace(age=age, largest=largest, whole=share >= 1)
  weight = _weigh(weights, state, memory.loss, memory.seen)
  passes, (size,) = _subset_passes.begin_parts(state.passes, weight > 0)
  return passes, age, largest, state.whole | (size == 0)


def self_paced(
  *,
  batch_size: int,
  num_steps: int,
  weights: str = "hard",
  start: float = 0.5,
  full_at: float = 0.5,
) -> Sampler:
  """Draws by passes over a growing share of the examples, easiest first.

  Args:
    batch_size: B, at least 1.
    num_steps: of the run.
    weights: one of WEIGHTS, how loss weights fall with the loss.
    start: the share of the examples at step 0, in (0, 1].
    full_at: the share of the run at which all examples are in, in (0, 1].

  Returns:
    A sampler whose `init` raises ValueError for a batch larger than the pool.
  """
  check_at_least(1, batch_size=batch_size, num_steps=num_steps)
  check_choice(WEIGHTS, weights=weights)
  check_positive_fraction(start=start, full_at=full_at)

  def init(key: Array, pool: Pool) -> SelfPacedState:
    _loss_memory.check_batch(batch_size, pool)
    num_examples = pool.label.shape[0]
    return SelfPacedState(
      step=jnp.int32(0),
      num_steps=jnp.int32(num_steps),
      memory=_loss_memory.start(num_examples),
      passes=_subset_passes.start(key, num_examples),
      age=jnp.float32(0),
      largest=jnp.float32(0),
      whole=jnp.bool_(True),
    )

  def sample(key: Array, state: SelfPacedState, pool: Pool) -> Draw:
    place = _subset_passes.draw_places(state.passes, batch_size)
    index = state.passes.order[place]
    loss, seen = state.memory.loss[index], state.memory.seen[index]
    weight = _weigh(weights, state, loss, seen)
    return Draw(index, jnp.ones(batch_size, jnp.float32), weight)

  def update(
    state: SelfPacedState, draw: Draw, feedback: Array | tuple[()]
  ) -> SelfPacedState:
    step = count_up(state.step)
    memory = _loss_memory.learn(state.memory, draw.index, feedback)
    passes, over = _subset_passes.advance(state.passes, batch_size)
    progress = step.astype(jnp.float32) / state.num_steps.astype(jnp.float32)
    share = jnp.minimum(start + (1 - start) * progress / full_at, 1)
    state = state._replace(step=step, memory=memory, passes=passes)
    passes, age, largest, whole = jax.lax.cond(
      over,
      lambda state: _begin_pass(weights, state, share),
      lambda state: (state.passes, state.age, state.largest, state.whole),
      state,
    )
    return state._replace(passes=passes, age=age, largest=largest, whole=whole)

  return Sampler(
    init,
    sample,
    update,
    _loss_memory.LOSS_SIGNAL,
    spec=SamplerSpec(per_example_state=True),
  )
