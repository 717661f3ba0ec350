"""Weighs examples by the trust that the run's own losses put in their labels.

An example's loss is taken before the update, so the first passes of a run judge
every label by a model that has hardly learned it. What is missing is the loss
that a wrong label would have now. It costs nothing: the loss of the same logits
under another label, the yardstick.

  m_n  <- (m_n + l(x_n, y_n)) / 2      memory, at each visit of example n
  m'_n <- (m'_n + l(x_n, y'_n)) / 2    yardstick, of a random label y' != y

After a warm-up, each memory is compared with the yardsticks of its class:

  u_n     = share of {m'_k : y'_k = y_n} below m_n
  rate    = min over t of (F(t) + its standard error) / (1 - t)
            F(t) the share of u >= t
  wrong_n = min(1, rate / density(u_n))
  s_c     = mean of wrong_n in class c

If all labels were wrong, u would be uniform in [0, 1]: it is the p-value of
"the label is wrong", small where the label fits. So `rate`, the share of wrong
labels, is the share of true null hypotheses (Storey 2002, "A Direct Approach to
False Discovery Rates"), and wrong_n a local false discovery rate with a density
that decreases (Efron 2010, "Large-Scale Inference"; Grenander's estimate).

Later losses tell wrong labels apart better, but no yardstick is left: the model
has learned the wrong labels too, and none of the random ones. So the shares
stay, and after each pass the memories are ranked again. With q_n in (0, 1) the
rank within the class,

  wrong_n = (q_n - 1 + 2 s_c) / (2 s_c), clipped to [0, 1]
  weight  = 1 - wrong_n

which has the mean s_c. Draws are shuffled passes, as of `uniform`. Classes are
compared with themselves, because some are harder than others.

The method is ours. It assumes that a wrong label is any of the others; where
wrong labels are confusions, the rate comes out too low, and little is weighed
down. Labels must be classes. Cost: no FLOPs of the model; O(N log N) once a
pass after the warm-up (under vmap, at each step).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_at_least
from alcurr.core.counters import count_up
from alcurr.samplers import cursor
from alcurr.samplers._arm_draw import check_partition
from alcurr.samplers._loss_memory import check_batch
from alcurr.samplers._sum_tree import last_writes
from alcurr.types import (
  Array,
  Draw,
  LabelJudgement,
  Pool,
  Sampler,
  SamplerSpec,
  Signal,
  StepInfo,
)

_THRESHOLDS = 33  # of the rate, from 0 to _LAST
_LAST = 0.8
_BINS = 20  # of the density
_MOST_WARMUP = 0.3  # of the run


class LabelTrustState(NamedTuple):
  step: Array  # [] int32
  passes: cursor.Cursor
  label: Array  # [N] int32
  memory: Array  # [N] float32, mean loss of the label
  yardstick: Array  # [N] float32, mean loss of other labels
  other: Array  # [N] int32, the other label at the last visit
  seen: Array  # [N] bool
  suggested: Array  # [N] int32, the likeliest other label; -1: not seen
  votes: Array  # [N] float32, for that label, less those against it
  share: Array  # [V] float32, estimated share of wrong labels
  wrong: Array  # [N] float32, estimated P(the label is wrong)
  rate: Array  # [] float32, estimated share of wrong labels
  ignored: Array  # [] int32, losses that were not finite


class Judgement(NamedTuple):
  """The losses of a batch before the update."""

  loss: Array  # [B] float32, of the label
  yardstick: Array  # [B] float32, of another label
  other: Array  # [B] int32, that label
  best: Array  # [B] int32, the likeliest other label
  best_prob: Array  # [B] float32, its probability


def _measure(key: Array, info: StepInfo) -> Judgement:
  label, num_classes = info.batch.label, info.logits.shape[1]
  shift = jax.random.randint(key, label.shape, 1, num_classes, jnp.int32)
  other = (label + shift) % num_classes
  log_prob = jax.nn.log_softmax(info.logits.astype(jnp.float32))
  row = jnp.arange(label.shape[0], dtype=jnp.int32)
  others = log_prob.at[row, label].set(-jnp.inf)
  return Judgement(
    -log_prob[row, label],
    -log_prob[row, other],
    other,
    others.argmax(1).astype(jnp.int32),
    jnp.exp(others.max(1)),
  )


def _vote(
  suggested: Array, votes: Array, best: Array, prob: Array
) -> tuple[Array, Array]:
  """Returns the leading label and its votes after another visit: all [B].

  A weighted majority vote in constant memory (Boyer and Moore 1991), in which
  old votes count half at each visit.
  """
  votes = votes / 2
  loses = (best != suggested) & (prob > votes)
  change = jnp.where(best == suggested, prob, -prob)
  return jnp.where(loses, best, suggested), jnp.abs(votes + change)


def p_values(
  memory: Array, label: Array, yardstick: Array, other: Array, seen: Array
) -> Array:
  """Returns the share of their class's yardsticks below each memory: [N].

  It is in (0, 1); half of a yardstick is added, and one more is counted. All
  arguments are [N]; only examples that were seen have yardsticks.
  """
  size = memory.shape[0]
  value = jnp.concatenate([yardstick, memory])
  group = jnp.concatenate([other, label])
  is_yardstick = jnp.concatenate([seen, jnp.zeros_like(seen)])
  # Memories come before equal yardsticks.
  order = jnp.lexsort((is_yardstick, value, group))
  counted = is_yardstick[order].astype(jnp.int32)
  count = jnp.cumsum(counted, dtype=jnp.int32)
  groups = group[order]
  first = jnp.searchsorted(groups, groups, side="left")
  last = jnp.searchsorted(groups, groups, side="right") - 1
  before = count[first] - counted[first]
  below = (count - before).astype(jnp.float32)
  total = (count[last] - before).astype(jnp.float32)
  share = jnp.zeros(2 * size, jnp.float32)
  return share.at[order].set((below + 0.5) / (total + 1))[size:]


def estimate_rate(u: Array, seen: Array) -> Array:
  """Returns the share of p-values [N] that is uniform: [] float32, in [0, 1].

  An upper estimate, by a standard error.
  """
  count = jnp.maximum(seen.sum(), 1).astype(jnp.float32)
  threshold = jnp.linspace(0, _LAST, _THRESHOLDS, dtype=jnp.float32)
  above = (u[None] >= threshold[:, None]) & seen[None]
  share = above.sum(1).astype(jnp.float32) / count
  error = jnp.sqrt(share * (1 - share) / count)
  return jnp.clip(((share + error) / (1 - threshold)).min(), 0, 1)


def _decreasing(values: Array) -> Array:
  """Returns the closest values [n] that do not increase, in least squares.

  By the min-max formula of isotonic regression.
  """
  size = values.shape[0]
  total = jnp.concatenate([jnp.zeros(1, jnp.float32), jnp.cumsum(values)])
  place = jnp.arange(size, dtype=jnp.int32)
  length = place[None] - place[:, None] + 1
  mean = total[None, 1:] - total[:-1, None]  # [from, to]
  mean = mean / jnp.maximum(length, 1).astype(jnp.float32)
  largest = jax.lax.cummax(
    jnp.where(length > 0, mean, -jnp.inf), axis=1, reverse=True
  )
  return jax.lax.cummin(
    jnp.where(length > 0, largest, jnp.inf), axis=0
  ).diagonal()


def estimate_wrong(u: Array, seen: Array, rate: Array) -> Array:
  """Returns the local false discovery rate of p-values: [N], 0 if not seen."""
  bins = jnp.minimum((u * _BINS).astype(jnp.int32), _BINS - 1)
  count = jax.ops.segment_sum(seen.astype(jnp.float32), bins, _BINS)
  density = _decreasing(_BINS * count / jnp.maximum(count.sum(), 1))
  wrong = jnp.where(density > 0, rate / jnp.where(density > 0, density, 1), 1)
  return jnp.where(seen, jnp.minimum(wrong, 1)[bins], 0)


def rank_in_class(memory: Array, label: Array, seen: Array) -> Array:
  """Returns the ranks of those seen in their class, in (0, 1): [N]."""
  order = jnp.lexsort((memory, label, ~seen))
  # The examples not seen are groups of their own, at the end.
  group = jnp.where(seen, label, label + label.max() + 1)[order]
  first = jnp.searchsorted(group, group, side="left")
  last = jnp.searchsorted(group, group, side="right")
  place = jnp.arange(memory.shape[0], dtype=jnp.int32)
  rank = (place - first).astype(jnp.float32) + 0.5
  rank = rank / (last - first).astype(jnp.float32)
  return jnp.zeros_like(memory).at[order].set(rank)


def _remember(
  state: LabelTrustState, index: Array, batch: Judgement
) -> LabelTrustState:
  finite = jnp.isfinite(batch.loss) & jnp.isfinite(batch.yardstick)
  place = last_writes(index, finite)

  def put(array: Array, values: Array) -> Array:
    return array.at[place].set(values, mode="drop")

  def mean(old: Array, new: Array) -> Array:
    new = jnp.where(finite, new, 0)
    return put(old, jnp.where(state.seen[index], (old[index] + new) / 2, new))

  suggested, votes = _vote(
    state.suggested[index], state.votes[index], batch.best, batch.best_prob
  )
  return state._replace(
    suggested=put(state.suggested, suggested),
    votes=put(state.votes, jnp.where(finite, votes, 0)),
    memory=mean(state.memory, batch.loss),
    yardstick=mean(state.yardstick, batch.yardstick),
    other=put(state.other, batch.other),
    seen=put(state.seen, jnp.ones_like(finite)),
    ignored=count_up(state.ignored, (~finite).sum(dtype=jnp.int32)),
  )


def _calibrate(state: LabelTrustState) -> LabelTrustState:
  """Estimates the share of wrong labels, of all and of each class."""
  u = p_values(
    state.memory, state.label, state.yardstick, state.other, state.seen
  )
  rate = estimate_rate(u, state.seen)
  wrong = estimate_wrong(u, state.seen, rate)
  num_classes = state.share.shape[0]
  total = jax.ops.segment_sum(wrong, state.label, num_classes)
  count = jax.ops.segment_sum(
    state.seen.astype(jnp.float32), state.label, num_classes
  )
  return state._replace(rate=rate, share=total / jnp.maximum(count, 1))


def _judge(state: LabelTrustState) -> LabelTrustState:
  """Estimates which labels are wrong, by their rank and the class's share."""
  share = state.share[state.label]
  rank = rank_in_class(state.memory, state.label, state.seen)
  width = jnp.where(share > 0, 2 * share, 1)
  wrong = jnp.clip((rank - 1 + 2 * share) / width, 0, 1)
  return state._replace(wrong=jnp.where(state.seen & (share > 0), wrong, 0))


def label_trust(
  *, batch_size: int, num_steps: int, warmup_passes: int = 3
) -> Sampler:
  """Weighs examples by the probability that their label is right.

  The state has the estimates: `rate`, of all labels, and `wrong`, of each.

  Args:
    batch_size: B.
    num_steps: of the run.
    warmup_passes: over the pool, before the labels are judged; at most 30 % of
      the run.

  Returns:
    A sampler whose `init` raises ValueError for a batch larger than the pool,
    or for labels that are no classes.
  """
  check_at_least(
    1,
    batch_size=batch_size,
    num_steps=num_steps,
    warmup_passes=warmup_passes,
  )

  def init(key: Array, pool: Pool) -> LabelTrustState:
    check_batch(batch_size, pool)
    check_partition(pool, "label")
    if not jnp.issubdtype(pool.label.dtype, jnp.integer):
      raise ValueError("label_trust needs classes, got targets")
    size = pool.label.shape[0]
    zeros = jnp.zeros(size, jnp.float32)
    return LabelTrustState(
      step=jnp.int32(0),
      passes=cursor.start(key, jnp.array([size], jnp.int32)),
      # A copy: the state is donated to the step, and the labels are the pool's.
      label=jnp.array(pool.label, jnp.int32),
      memory=zeros,
      yardstick=zeros,
      other=jnp.zeros(size, jnp.int32),
      seen=jnp.zeros(size, bool),
      suggested=jnp.full(size, -1, jnp.int32),
      votes=zeros,
      share=jnp.zeros(pool.partitions["label"].size.shape, jnp.float32),
      wrong=zeros,
      rate=jnp.float32(0),
      ignored=jnp.int32(0),
    )

  def sample(key: Array, state: LabelTrustState, pool: Pool) -> Draw:
    whole_pool = jnp.zeros(batch_size, jnp.int32)
    index = cursor.look_ahead(
      state.passes, whole_pool, jnp.arange(batch_size, dtype=jnp.int32)
    )
    ones = jnp.ones(batch_size, jnp.float32)
    return Draw(index, ones, ones - state.wrong[index])

  def update(
    state: LabelTrustState, draw: Draw, feedback: Judgement | tuple[()]
  ) -> LabelTrustState:
    if feedback:
      state = _remember(state, draw.index, feedback)
    passes = cursor.advance(state.passes, jnp.array([batch_size], jnp.int32))
    begins_pass = passes.epoch[0] > state.passes.epoch[0]
    state = state._replace(step=count_up(state.step), passes=passes)
    size = state.label.shape[0]
    # At least a step, so that something was seen.
    warmup = -(-warmup_passes * size // batch_size)
    warmup = max(min(warmup, int(_MOST_WARMUP * num_steps)), 1)
    is_warm = state.step == warmup
    state = jax.lax.cond(is_warm, _calibrate, lambda state: state, state)
    judges = is_warm | (begins_pass & (state.step > warmup))
    return jax.lax.cond(judges, _judge, lambda state: state, state)

  def judge(state: LabelTrustState) -> LabelJudgement:
    count = jnp.maximum(state.seen.sum(), 1).astype(jnp.float32)
    error = jnp.sqrt(state.rate * (1 - state.rate) / count)
    return LabelJudgement(
      wrong=state.wrong,
      score=state.memory,
      suggested=state.suggested,
      rate=state.rate,
      rate_low=jnp.maximum(state.rate - 1.96 * error, 0),
      rate_high=jnp.minimum(state.rate + 1.96 * error, 1),
    )

  spec = SamplerSpec(partitions=("label",), per_example_state=True)
  return Sampler(init, sample, update, Signal(_measure), judge=judge, spec=spec)
