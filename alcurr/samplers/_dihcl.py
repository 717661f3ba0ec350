"""Curriculum by dynamic instance hardness: what is hard so far, more often.

From Zhou, Wang and Bilmes (2020), "Curriculum Learning by Dynamic Instance
Hardness". At each visit of an example the instantaneous hardness a is, by
`measure`,

  loss     its loss
  change   |its loss - its loss at the last visit|
  flips    whether the answer became right or wrong since the last visit, 0 or 1

divided by the sum of the learning rates since the last visit, if they are
given. The hardness h follows it, for the examples drawn only:

  h <- γ a + (1 - γ) h

After `warmup` passes over the whole pool, each epoch draws a subset without
replacement, with p ~ h, and shuffles it. The subset shrinks by `decay` from
epoch to epoch, until it has the share `least` of the pool.

Ours, not the paper's: the first value of h is the first a. Examples that have
none so far come first. The subset is drawn by the largest log h + Gumbel noise,
which has the law of draws one after the other (Efraimidis and Spirakis, 2006).
The authors' code trains in episodes of several epochs, and measures all
examples between them by a forward pass; here only visits measure.

Cost: no forward pass; O(B log B) a step, and a sort, O(N log N), at the end of
each epoch, which under vmap is paid at every step. State: 13 bytes an example,
and 4 more with learning rates.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import (
  check_at_least,
  check_choice,
  check_positive_fraction,
  check_record,
)
from alcurr.core.counters import count_up
from alcurr.core.in_place import after_reads
from alcurr.core.promotion import standard_promotion
from alcurr.samplers import _subset_passes
from alcurr.samplers._loss_memory import check_batch
from alcurr.samplers._subset_passes import SubsetPasses
from alcurr.samplers._sum_tree import last_writes
from alcurr.types import (
  Array,
  Draw,
  Pool,
  Sampler,
  SamplerSpec,
  Schedule,
  Signal,
  StepInfo,
)

MEASURES = ("loss", "change", "flips")
_LARGEST = 1e30  # of a hardness
_SMALLEST = 1e-30  # of a hardness that is not zero


class DihclState(NamedTuple):
  step: Array  # [] int32, updates so far
  hardness: Array  # [N] float32, h; 0 where there is none so far
  last: Array  # [N] float32, the loss, or 1 for a right answer, at a visit
  visits: Array  # [N] int8, visits with a finite loss so far, at most 2
  rates: Array  # [] float32, the sum of the learning rates of this epoch
  last_rates: Array | tuple[()]  # [N] float32, that sum at the last visit
  passes: SubsetPasses
  num_passes: Array  # [] int32, finished
  share: Array  # [] float32, of the pool in the pass
  key: Array  # [] PRNG key of the subsets
  ignored: Array  # [] int32, measurements that were not finite


def _right_answers(key: Array, info: StepInfo) -> Array:
  right = info.logits.argmax(1) == info.batch.label
  return jnp.where(jnp.isfinite(info.loss), right.astype(jnp.float32), jnp.nan)


def _learn(
  state: DihclState, index: Array, value: Array, step_size: float, changes: bool
) -> DihclState:
  """Learns from the losses, or right answers, of a batch: [B]."""
  finite = jnp.isfinite(value)
  value = jnp.where(finite, value.astype(jnp.float32), 0)
  last, visits = state.last[index], state.visits[index]
  now = jnp.abs(value - last) if changes else value
  last_rates = state.last_rates
  if not isinstance(last_rates, tuple):
    since = state.rates - last_rates[index]
    # Nothing was learned at a rate of 0.
    now = jnp.where(since > 0, now / jnp.where(since > 0, since, 1), 0)
  now = jnp.clip(now, 0, _LARGEST)
  first = 1 if changes else 0  # the visit of the first value
  old = state.hardness[index]
  new = jnp.where(visits == first, now, step_size * now + (1 - step_size) * old)
  new = jnp.where(visits < first, 0, new)
  place = after_reads(last_writes(index, finite), new)

  def put(array: Array, values: Array) -> Array:
    return array.at[place].set(values, mode="drop")

  if not isinstance(last_rates, tuple):
    last_rates = put(last_rates, jnp.full_like(value, state.rates))
  return state._replace(
    hardness=put(state.hardness, new),
    last=put(state.last, value),
    visits=put(state.visits, jnp.minimum(visits, 1) + 1),
    last_rates=last_rates,
    ignored=count_up(state.ignored, (~finite).sum(dtype=jnp.int32)),
  )


def _draw_subset(state: DihclState, first: int) -> SubsetPasses:
  """Begins an epoch over a share of the pool, drawn with p ~ h."""
  num_examples = state.hardness.shape[0]
  key = jax.random.fold_in(state.key, state.num_passes)
  noise = jax.random.gumbel(key, (num_examples,), jnp.float32)
  score = jnp.log(jnp.maximum(state.hardness, _SMALLEST)) + noise
  # Above all others.
  score = jnp.where(state.visits > first, score, 1e4 + noise)
  size = jnp.floor(state.share * num_examples).astype(jnp.int32)
  order = jnp.argsort(-score).astype(jnp.int32)
  return _subset_passes.begin(
    state.passes, order, jnp.clip(size, 1, num_examples)
  )


def dihcl(
  *,
  batch_size: int,
  measure: str = "loss",
  step_size: float = 0.9,
  warmup: int = 2,
  decay: float = 0.9,
  least: float = 0.5,
  learning_rate: float | Schedule | None = None,
) -> Sampler:
  """Draws by epochs over a shrinking subset of hard examples.

  Args:
    batch_size: B, at least 1.
    measure: one of MEASURES; "flips" needs labels that are classes.
    step_size: γ, in (0, 1].
    warmup: passes over the whole pool, at least 1.
    decay: the factor by which the subset shrinks from epoch to epoch, (0, 1].
    least: the share of the pool in the smallest subset, in (0, 1].
    learning_rate: the optimizer's, to divide by; a number or a schedule. None:
      do not divide.

  Returns:
    A sampler whose `init` raises ValueError for a pool that does not fit.
  """
  check_at_least(1, batch_size=batch_size, warmup=warmup)
  check_choice(MEASURES, measure=measure)
  check_record(Schedule, learning_rate=learning_rate)
  check_positive_fraction(step_size=step_size, decay=decay, least=least)
  changes = measure != "loss"
  first = 1 if changes else 0

  def init(key: Array, pool: Pool) -> DihclState:
    check_batch(batch_size, pool)
    classes = jnp.issubdtype(pool.label.dtype, jnp.integer)
    if measure == "flips" and not (classes and pool.label.ndim == 1):
      raise ValueError("measure 'flips' needs labels that are classes")
    zeros = jnp.zeros(pool.label.shape[0], jnp.float32)
    key_order, key_subset = jax.random.split(key)
    return DihclState(
      step=jnp.int32(0),
      hardness=zeros,
      last=zeros,
      visits=zeros.astype(jnp.int8),
      rates=jnp.float32(0),
      last_rates=() if learning_rate is None else zeros,
      passes=_subset_passes.start(key_order, zeros.shape[0]),
      num_passes=jnp.int32(0),
      share=jnp.float32(1),
      key=key_subset,
      ignored=jnp.int32(0),
    )

  def sample(key: Array, state: DihclState, pool: Pool) -> Draw:
    place = _subset_passes.draw_places(state.passes, batch_size)
    ones = jnp.ones(batch_size, jnp.float32)
    return Draw(state.passes.order[place], ones, ones)

  def next_epoch(state: DihclState) -> DihclState:
    done = count_up(state.num_passes)
    shrunk = jnp.maximum(state.share * decay, least)
    share = jnp.where(done >= warmup, shrunk, 1)
    state = state._replace(num_passes=done, share=share)
    if learning_rate is not None:
      # The sum begins again, so that it stays exact.
      last_rates = state.last_rates - state.rates
      state = state._replace(last_rates=last_rates, rates=jnp.float32(0))
    return state._replace(passes=_draw_subset(state, first))

  def update(
    state: DihclState, draw: Draw, feedback: Array | tuple[()]
  ) -> DihclState:
    if learning_rate is not None:
      with standard_promotion():  # schedules of optax need it
        rate = learning_rate
        rate = rate(state.step) if callable(rate) else rate
        rates = state.rates + jnp.asarray(rate, jnp.float32)
      state = state._replace(rates=rates)
    if not isinstance(feedback, tuple):
      state = _learn(state, draw.index, feedback, step_size, changes)
    passes, over = _subset_passes.advance(state.passes, batch_size)
    state = state._replace(step=count_up(state.step), passes=passes)
    return jax.lax.cond(over, next_epoch, lambda state: state, state)

  signal = Signal(lambda key, info: info.loss)
  if measure == "flips":
    signal = Signal(_right_answers)
  spec = SamplerSpec(per_example_state=True)
  return Sampler(init, sample, update, signal, spec=spec)
