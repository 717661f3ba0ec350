"""Draws examples by the rank of their last loss, with geometric odds.

From Loshchilov and Hutter (2016), "Online Batch Selection for Faster Training
of Neural Networks". The N examples are sorted by their last loss, the largest
first. The example at rank r = 0, ..., N - 1 is drawn with

  p(r) = q^r (1 - q) / (1 - q^N),    q = exp(-log(s) / (N - 1))

so that the first is drawn s times as often as the last: s is the selection
pressure, which may change over the run. With s = 1 all are drawn alike. The
sort is repeated at intervals, by default once a pass. Examples that have no
loss yet come first, as if it were infinite.

Ours: the paper divides by N, which makes the ratio s^((N - 1) / N). It also
computes the losses of all examples again at intervals; here the losses are
those of the last visit. A rank is drawn by the inverse distribution function in
two stages, a block of about sqrt(N) ranks and a rank in it, since a float32
does not tell apart more than 2^24 ranks.

Cost: O(B) a step, and at each `sort_interval`-th step a sort, O(N log N); under
vmap the sort is paid at every step. No forward pass. State: 9 bytes an example.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_at_least, check_record
from alcurr.core.counters import count_up
from alcurr.core.promotion import standard_promotion
from alcurr.samplers import _loss_memory, cursor
from alcurr.samplers._loss_memory import LossMemory
from alcurr.types import Array, Draw, Pool, Sampler, SamplerSpec, Schedule

LARGEST_PRESSURE = 1e6


class LoshchilovHutterState(NamedTuple):
  step: Array  # [] int32, updates so far
  pressure: Array  # [] float32, s at this step
  memory: LossMemory
  order: Array  # [N] int32, the examples as they were sorted last
  first_pass: cursor.Cursor  # over the pool
  sort_interval: Array  # [] int32, steps


def _geometric(uniform: Array, rate: Array, size: Array) -> Array:
  """Returns draws in [0, size) whose density falls as exp(-rate x).

  All arguments are float32 and broadcast; the uniform ones are in [0, 1).
  """
  flat = rate * size < 1e-6
  safe = jnp.where(flat, 1, rate)
  falling = -jnp.log1p(uniform * jnp.expm1(-safe * size)) / safe
  return jnp.where(flat, uniform * size, falling)


def draw_ranks(
  key: Array, pressure: Array, num_examples: int, size: int
) -> tuple[Array, Array]:
  """Draws ranks in [0, N), the first `pressure` times as often as the last.

  Args:
    key: [] PRNG key.
    pressure: [] float32, s, at least 1.
    num_examples: N.
    size: B.

  Returns:
    rank [B] int32, and the probability [B] float32 of each.
  """
  width = math.isqrt(num_examples - 1) + 1
  num_blocks = -(-num_examples // width)
  rate = jnp.log(pressure) / max(num_examples - 1, 1)
  uniform = jax.random.uniform(key, (2, size), jnp.float32)

  def whole(x: Array, most: Array | int) -> Array:
    return jnp.minimum(jnp.floor(x).astype(jnp.int32), most)

  # A block is `width` ranks; the last may have fewer.
  blocks = num_examples / width
  block = whole(_geometric(uniform[0], rate * width, blocks), num_blocks - 1)
  length = jnp.minimum(width, num_examples - block * width)
  within = _geometric(uniform[1], rate, length.astype(jnp.float32))
  rank = block * width + whole(within, length - 1)
  # (1 - q) / (1 - q^N), and 1 / N in the limit.
  flat = rate * num_examples < 1e-6
  safe = jnp.where(flat, 1, rate)
  largest = jnp.expm1(-safe) / jnp.expm1(-safe * num_examples)
  largest = jnp.where(flat, 1 / num_examples, largest)
  return rank, largest * jnp.exp(-rate * rank.astype(jnp.float32))


def _sort(memory: LossMemory, order: Array) -> Array:
  """Returns the examples [N], unseen ones first, then by falling loss.

  Equal ones stay in the order that they had.
  """
  key = jnp.where(memory.seen, -memory.loss, -jnp.inf)[order]
  return order[jnp.argsort(key, stable=True)]


def loshchilov_hutter(
  *,
  batch_size: int,
  pressure: float | Schedule = 100.0,
  sort_interval: int | None = None,
  first_pass: bool = True,
) -> Sampler:
  """Draws with replacement by the rank of remembered losses.

  Args:
    batch_size: B, at least 1.
    pressure: s, at least 1; or a schedule, a function of the step, such as
      "exponential(value=100, end=1)", whose values are clipped to [1, 10^6].
    sort_interval: steps from one sort to the next. None: a pass, ceil(N / B).
    first_pass: whether every example is first drawn once, in a shuffled pass.
      Otherwise ranks are drawn from the first step on, in a random order.

  Returns:
    A sampler whose `init` raises ValueError for a batch larger than the pool.
  """
  check_at_least(1, batch_size=batch_size, sort_interval=sort_interval)
  check_record(Schedule, pressure=pressure)
  start = pressure(0) if callable(pressure) else pressure
  if not 1 <= start <= LARGEST_PRESSURE:
    raise ValueError(
      f"pressure must be in [1, {LARGEST_PRESSURE:g}], got {start}"
    )

  def init(key: Array, pool: Pool) -> LoshchilovHutterState:
    _loss_memory.check_batch(batch_size, pool)
    num_examples = pool.label.shape[0]
    key_order, key_pass = jax.random.split(key)
    interval = sort_interval or -(-num_examples // batch_size)
    return LoshchilovHutterState(
      step=jnp.int32(0),
      pressure=jnp.float32(start),
      memory=_loss_memory.start(num_examples),
      order=jax.random.permutation(
        key_order, jnp.arange(num_examples, dtype=jnp.int32)
      ),
      first_pass=cursor.start(key_pass, jnp.array([num_examples], jnp.int32)),
      sort_interval=jnp.int32(interval),
    )

  def sample(key: Array, state: LoshchilovHutterState, pool: Pool) -> Draw:
    num_examples = pool.label.shape[0]
    ones = jnp.ones(batch_size, jnp.float32)
    rank, prob = draw_ranks(key, state.pressure, num_examples, batch_size)
    index = state.order[rank]
    if first_pass:
      by_pass = cursor.look_ahead(
        state.first_pass,
        jnp.zeros(batch_size, jnp.int32),
        jnp.arange(batch_size, dtype=jnp.int32),
      )
      in_pass = state.first_pass.epoch[0] == 0
      index = jnp.where(in_pass, by_pass, index)
      prob = jnp.where(in_pass, 1, prob)
    return Draw(index, prob, ones)

  def update(
    state: LoshchilovHutterState, draw: Draw, feedback: Array | tuple[()]
  ) -> LoshchilovHutterState:
    memory = _loss_memory.learn(state.memory, draw.index, feedback)
    step = count_up(state.step)
    order = jax.lax.cond(
      step % state.sort_interval == 0,
      _sort,
      lambda memory, order: order,
      memory,
      state.order,
    )
    if callable(pressure):
      with standard_promotion():  # schedules of optax need it
        now = jnp.clip(pressure(step), 1, LARGEST_PRESSURE)
      state = state._replace(pressure=now.astype(jnp.float32))
    # It stops at the end, since only whether it is there matters.
    left = jnp.where(state.first_pass.epoch == 0, batch_size, 0)
    return state._replace(
      step=step,
      memory=memory,
      order=order,
      first_pass=cursor.advance(state.first_pass, left.astype(jnp.int32)),
    )

  return Sampler(
    init,
    sample,
    update,
    _loss_memory.LOSS_SIGNAL,
    spec=SamplerSpec(per_example_state=True),
  )
