"""Trusts each label as far as the run's own losses speak for it.

The loss of an example is taken before the update, so that the first passes of a
run judge every label by a model that has hardly learned it. What is missing is
the loss that a wrong label would have now. It costs nothing: the loss of the
same logits under another label, the yardstick.

  m_n  <- (m_n + l(x_n, y_n)) / 2      memory, at each visit of example n
  m'_n <- (m'_n + l(x_n, y'_n)) / 2    yardstick, of another label y'_n
  u_n   = share of the yardsticks with y' = y_n that are below m_n

Were all labels wrong, u would be uniform in [0, 1]: it is a p-value of "the
label is wrong", small where the label fits. The share of wrong labels is then
the proportion of true null hypotheses, and the probability that a label is
wrong a local false discovery rate:

  rate  = min over t of  (share of u >= t) / (1 - t), and its standard error
          Storey (2002, "A Direct Approach to False Discovery Rates")
  wrong = min(1, rate / density of u), which does not decrease in u
          Efron (2010, "Large-Scale Inference"), with the estimate of Grenander

After a warm-up, examples are drawn as before, and weigh 1 - wrong, or are
dropped where wrong > 1/2. Both estimates are renewed after each pass.

The yardstick is compared within the class, because classes differ in how hard
they are. Cost: no FLOPs of the model; O(N log N) once for each pass after the
warm-up (under vmap, at each step).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_at_least, check_choice
from alcurr.core.counters import count_up
from alcurr.samplers import cursor
from alcurr.types import (
  Array,
  Draw,
  Pool,
  PyTree,
  Sampler,
  SamplerSpec,
  Signal,
  StepInfo,
)

# Thresholds of `rate`, and bins of the density.
_NUM_THRESHOLDS = 33
_LAST_THRESHOLD = 0.8
_NUM_BINS = 20


class LabelTrustState(NamedTuple):
  step: Array  # [] int32
  passes: PyTree  # over the pool, see `cursor`
  label: Array  # [N] int32
  memory: Array  # [N] float32, mean loss of the label
  yardstick: Array  # [N] float32, mean loss of the other label
  other: Array  # [N] int32, the other label at the last visit
  visits: Array  # [N] int32
  wrong: Array  # [N] float32, P(the label is wrong)
  rate: Array  # [] float32, the estimated share of wrong labels
  ignored: Array  # [] int32, losses that were not finite


class Judgement(NamedTuple):
  """What a visit says about the labels of a batch."""

  loss: Array  # [B] float32, of the label
  yardstick: Array  # [B] float32, of another label
  other: Array  # [B] int32, that label


def _p_values(
  memory: Array, label: Array, yardstick: Array, other: Array, seen: Array
) -> Array:
  """Returns the share of a class's yardsticks below each memory: u [N]."""
  size = memory.shape[0]
  # Yardsticks first, so that equal ones are not below.
  value = jnp.concatenate([yardstick, memory])
  group = jnp.concatenate([other, label])
  is_yard = jnp.concatenate([seen, jnp.zeros(size, bool)])
  order = jnp.lexsort((~is_yard, value, group))
  ordered, groups = is_yard[order].astype(jnp.int32), group[order]
  below = jnp.cumsum(ordered) - ordered
  first = jnp.searchsorted(groups, groups, side="left")
  last = jnp.searchsorted(groups, groups, side="right") - 1
  before = below[first]
  total = below[last] + ordered[last] - before
  share = (below - before + 0.5) / (total + 1.0)
  u = jnp.zeros(2 * size, jnp.float32).at[order].set(share.astype(jnp.float32))
  return u[size:]


def estimate_rate(u: Array, seen: Array) -> Array:
  """Returns the share of u [N] that is uniform, an upper estimate: []."""
  count = seen.sum().astype(jnp.float32)
  threshold = jnp.linspace(0, _LAST_THRESHOLD, _NUM_THRESHOLDS)
  above = ((u[None] >= threshold[:, None]) & seen[None]).sum(1)
  share = above.astype(jnp.float32) / jnp.maximum(count, 1)
  error = jnp.sqrt(share * (1 - share) / jnp.maximum(count, 1))
  return jnp.clip(((share + error) / (1 - threshold)).min(), 0, 1)


def _increasing(values: Array, weight: Array) -> Array:
  """Returns the weighted least-squares fit that does not decrease: [bins].

  By the max-min formula of isotonic regression.
  """
  size = values.shape[0]
  zero = jnp.zeros(1, jnp.float32)
  total = jnp.concatenate([zero, jnp.cumsum(values * weight)])
  mass = jnp.concatenate([zero, jnp.cumsum(weight)])
  i = jnp.arange(size)
  mean = (total[None, 1:] - total[:-1, None]) / jnp.maximum(
    mass[None, 1:] - mass[:-1, None], 1e-12
  )  # [from, to]
  valid = i[None] >= i[:, None]
  least = jax.lax.cummin(jnp.where(valid, mean, jnp.inf), axis=1, reverse=True)
  return jax.lax.cummax(jnp.where(valid, least, -jnp.inf), axis=0)[i, i]


def estimate_wrong(u: Array, seen: Array, rate: Array) -> Array:
  """Returns the probability that each label is wrong: [N] float32."""
  bins = jnp.clip((u * _NUM_BINS).astype(jnp.int32), 0, _NUM_BINS - 1)
  count = jax.ops.segment_sum(seen.astype(jnp.float32), bins, _NUM_BINS)
  density = _NUM_BINS * count / jnp.maximum(count.sum(), 1)
  # The density decreases where the share of wrong labels increases.
  density = -_increasing(-density, jnp.ones(_NUM_BINS))
  wrong = jnp.clip(rate / jnp.maximum(density, 1e-6), 0, 1)
  return jnp.where(seen, wrong[bins], 0)


def label_trust(
  *,
  batch_size: int,
  num_steps: int,
  yardstick: str = "random",
  action: str = "weigh",
  warmup_passes: int = 3,
) -> Sampler:
  """Weighs examples by the probability that their label is right.

  Args:
    batch_size: B.
    num_steps: of the run.
    yardstick: the other label: "random", any; or "likely", the most probable
      but for the label itself, where wrong labels are confusions.
    action: "weigh", the weight is the probability that the label is right; or
      "drop", it is 0 where a wrong one is more probable.
    warmup_passes: before the first estimate; at most 30 % of the run.
  """
  check_at_least(1, batch_size=batch_size, warmup_passes=warmup_passes)
  check_choice(("random", "likely"), yardstick=yardstick)
  check_choice(("weigh", "drop"), action=action)

  def init(key: Array, pool: Pool) -> LabelTrustState:
    size = pool.label.shape[0]
    if batch_size > size:
      raise ValueError(
        f"batch_size {batch_size} is larger than the pool of {size}"
      )
    zeros = jnp.zeros(size, jnp.float32)
    return LabelTrustState(
      step=jnp.int32(0),
      passes=cursor.start(key, jnp.array([size], jnp.int32)),
      label=jnp.array(pool.label, jnp.int32),
      memory=zeros,
      yardstick=zeros,
      other=jnp.zeros(size, jnp.int32),
      visits=jnp.zeros(size, jnp.int32),
      wrong=zeros,
      rate=jnp.float32(0),
      ignored=jnp.int32(0),
    )

  def sample(key: Array, state: LabelTrustState, pool: Pool) -> Draw:
    whole_pool = jnp.zeros(batch_size, jnp.int32)
    index = cursor.look_ahead(
      state.passes, whole_pool, jnp.arange(batch_size, dtype=jnp.int32)
    )
    wrong = state.wrong[index]
    weight = 1 - wrong
    if action == "drop":
      weight = (wrong <= 0.5).astype(jnp.float32)
    return Draw(index, jnp.ones(batch_size, jnp.float32), weight)

  def measure(key: Array, info: StepInfo) -> Judgement:
    label = info.batch.label
    num_classes = info.logits.shape[1]
    own = jax.nn.one_hot(label, num_classes, dtype=bool)
    if yardstick == "likely":
      other = jnp.where(own, -jnp.inf, info.logits).argmax(1)
    else:
      shift = jax.random.randint(key, label.shape, 1, num_classes, jnp.int32)
      other = (label + shift) % num_classes
    other = other.astype(jnp.int32)
    log_p = jax.nn.log_softmax(info.logits)
    take = lambda y: -jnp.take_along_axis(log_p, y[:, None], 1)[:, 0]  # noqa: E731
    return Judgement(take(label), take(other), other)

  def remember(state: LabelTrustState, draw: Draw, seen: Judgement):
    index = draw.index
    finite = jnp.isfinite(seen.loss) & jnp.isfinite(seen.yardstick)
    first = state.visits[index] == 0

    def mean(old: Array, new: Array) -> Array:
      new = jnp.where(first, new, (old[index] + new) / 2)
      return old.at[index].set(jnp.where(finite, new, old[index]))

    return state._replace(
      memory=mean(state.memory, seen.loss),
      yardstick=mean(state.yardstick, seen.yardstick),
      other=state.other.at[index].set(seen.other),
      visits=state.visits.at[index].add(finite.astype(jnp.int32)),
      ignored=count_up(state.ignored, (~finite).sum(dtype=jnp.int32)),
    )

  def calibrate(state: LabelTrustState) -> LabelTrustState:
    seen = state.visits > 0
    u = _p_values(
      state.memory, state.label, state.yardstick, state.other, seen
    )
    rate = estimate_rate(u, seen)
    return state._replace(rate=rate, wrong=estimate_wrong(u, seen, rate))

  def update(
    state: LabelTrustState, draw: Draw, feedback: Judgement | tuple[()]
  ) -> LabelTrustState:
    if feedback:
      state = remember(state, draw, feedback)
    step = count_up(state.step)
    passes = cursor.advance(state.passes, jnp.array([batch_size], jnp.int32))
    size = state.label.shape[0]
    warmup = min(-(-warmup_passes * size // batch_size), num_steps * 3 // 10)
    ended = (passes.epoch[0] > state.passes.epoch[0]) & (step > warmup)
    state = state._replace(step=step, passes=passes)
    return jax.lax.cond(
      (step == max(warmup, 1)) | ended, calibrate, lambda s: s, state
    )

  return Sampler(
    init,
    sample,
    update,
    Signal(measure),
    spec=SamplerSpec(per_example_state=True),
  )
