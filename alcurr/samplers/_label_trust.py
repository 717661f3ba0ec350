"""Weighs examples by the trust that the run's own predictions put in labels.

A prediction is made before the update, so the first passes of a run judge every
label by a model that has hardly learned it. From the most confident predictions
of the first passes, `_label_flips` estimates flip_ty = P(label y | class t).
With the predictions p_t of example n, whose label is y, at each visit

  odds <- log sum_{t != y} flip_ty p_t - log flip_yy p_y
  o_n  <- (o_n + odds) / 2             before the flips are known, all are equal

These are the log odds that the label is wrong (Bayes). They are too sure of
themselves, since the model learns wrong labels too. So they only rank labels,
and how many are wrong is a matter of the flips. With q_n in (0, 1) the rank of
o_n within its label, and s_y the share of wrong ones among the labels y,

  wrong_n = (q_n - 1 + s_y) / w + 1/2, clipped to [0, 1], with w = s_y / 2
  weight  = 1 - wrong_n

s_y is that of the rate less its standard error. Early predictions of hard data
may be confident and mistaken, and the rate too high. So it is estimated again
after each pass, until as many have gone as the warm-up had, and falls to 3/2 of
the new estimate. The new one is too low by as much as wrong labels were
learned: little of those that have lost their weight.

Where one other class has most of the odds, a label that is probably wrong is
replaced by it, for the loss. Draws are shuffled passes, as of `uniform`. Labels
are compared with their like, because some classes are harder than others.

The method is ours. Flips are those of Northcutt et al. 2021, "Confident
Learning: Estimating Uncertainty in Dataset Labels"; labels are replaced as in
SELFIE (Song et al. 2019). It assumes that confident predictions are right, and
that whether a label is wrong depends on the class: where people mistake hard
examples, too few are found. Labels must be classes.

Cost: no FLOPs of the model; O(B V) a step, and O(N log N) once a pass after the
warm-up (under vmap, at each step).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from alcurr.core.arguments import check_at_least, check_fraction
from alcurr.core.counters import count_up
from alcurr.core.in_place import after_reads
from alcurr.samplers import _label_flips, cursor
from alcurr.samplers._arm_draw import check_partition
from alcurr.samplers._loss_memory import check_batch, leading
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

_WIDTH = 0.5  # of the ramp, in shares of wrong labels
# The estimate falls as the model learns wrong labels, by a third at most.
_LEARNED = 1.5
_SURE = 0.9  # of the odds: one other class has so many that it is the label


class LabelTrustState(NamedTuple):
  step: Array  # [] int32
  passes: cursor.Cursor
  label: Array  # [N] int32
  seen: Array  # [N] bool
  odds: Array  # [N] float32, mean log odds that the label is wrong
  predicted: Array  # [N] int32, the class predicted by most visits
  confidence: Array  # [N] float32, its mean probability
  suggested: Array  # [N] int32, the likeliest other label; -1: not seen
  certainty: Array  # [N] float32, its mean share of the odds
  flips: Array  # [V, V] float32, estimated P(label | class)
  share: Array  # [V] float32, estimated share of wrong labels
  wrong: Array  # [N] float32, estimated P(the label is wrong)
  rate: Array  # [] float32, estimated share of wrong labels
  num_anchors: Array  # [] float32, that the rate was estimated from
  ignored: Array  # [] int32, predictions that were not finite


def _measure(key: Array, info: StepInfo) -> Array:
  columns = info.logits.shape[1]
  num_classes = info.pool.partitions["label"].size.shape[0]
  if columns != num_classes:
    text = f"expected logits of the pool's {num_classes} classes, got {columns}"
    raise ValueError(f"label_trust: {text} columns")
  return jax.nn.log_softmax(info.logits.astype(jnp.float32))


def _remember(
  state: LabelTrustState, index: Array, log_prob: Array
) -> LabelTrustState:
  """Updates the means of the examples drawn by their predictions [B, V]."""
  finite = jnp.isfinite(log_prob).all(1)
  seen = state.seen[index]
  place = after_reads(last_writes(index, finite), seen)
  log_prob = jnp.where(finite[:, None], log_prob, 0)

  def put(array: Array, values: Array) -> Array:
    return array.at[place].set(values, mode="drop")

  odds = _label_flips.log_odds(log_prob, state.label[index], state.flips)
  total = logsumexp(odds, axis=1)
  first = ~seen
  predicted = log_prob.argmax(1).astype(jnp.int32)
  prob = jnp.exp(log_prob.max(1))
  other = odds.argmax(1).astype(jnp.int32)
  share = jnp.exp(odds.max(1) - total)
  leader, confidence = leading(
    state.predicted[index], state.confidence[index], predicted, prob
  )
  suggested, certainty = leading(
    state.suggested[index], state.certainty[index], other, share
  )
  old = state.odds[index]
  return state._replace(
    seen=put(state.seen, finite),
    odds=put(state.odds, jnp.where(first, total, (old + total) / 2)),
    predicted=put(state.predicted, jnp.where(first, predicted, leader)),
    confidence=put(state.confidence, jnp.where(first, prob, confidence)),
    suggested=put(state.suggested, jnp.where(first, other, suggested)),
    certainty=put(state.certainty, jnp.where(first, share, certainty)),
    ignored=count_up(state.ignored, (~finite).sum(dtype=jnp.int32)),
  )


def _estimate(state: LabelTrustState) -> _label_flips.Flips:
  return _label_flips.estimate_flips(
    state.predicted,
    state.confidence,
    state.label,
    state.seen,
    state.share.shape[0],
  )


def _calibrate(state: LabelTrustState) -> LabelTrustState:
  """Estimates the flips, and how many of each label are wrong."""
  found = _estimate(state)
  return state._replace(
    flips=found.flips,
    share=_label_flips.wrong_shares(found.flips, state.predicted, state.seen),
    rate=found.rate,
    num_anchors=found.num_anchors,
  )


def _error(state: LabelTrustState) -> Array:
  """Returns the standard error of the rate: [] float32."""
  count = jnp.maximum(state.num_anchors, 1)
  return jnp.sqrt(state.rate * (1 - state.rate) / count)


def _judge(state: LabelTrustState, corrects: Array) -> LabelTrustState:
  """Estimates which labels are wrong, by their rank and how many are.

  `corrects`, [] bool, is whether to estimate again how many.
  """
  most = jnp.where(corrects, _LEARNED * _estimate(state).rate, 1)
  rate = jnp.minimum(state.rate, most)
  per_rate = state.share / jnp.where(state.rate > 0, state.rate, 1)
  state = state._replace(rate=rate, share=per_rate * rate)
  at_least = jnp.maximum(rate - _error(state), 0)
  share = (per_rate * at_least)[state.label]
  rank = _label_flips.rank_in_group(state.odds, state.label, state.seen)
  width = jnp.where(share > 0, _WIDTH * share, 1)
  wrong = jnp.clip((rank - 1 + share) / width + 0.5, 0, 1)
  return state._replace(wrong=jnp.where(state.seen & (share > 0), wrong, 0))


def _judgement(state: LabelTrustState) -> LabelJudgement:
  """Returns the opinion of a state, with Wilson's interval of the rate."""
  # No mistake among the anchors does not mean none at all, and
  # a run that is not longer than the warm-up knows nothing of the rate.
  count = jnp.maximum(state.num_anchors, 1)
  z = 1.96 / jnp.sqrt(count)
  middle = (state.rate + z**2 / 2) / (1 + z**2)
  spread = state.rate * (1 - state.rate) + z**2 / 4
  half = jnp.where(state.num_anchors > 0, z * jnp.sqrt(spread) / (1 + z**2), 1)
  return LabelJudgement(
    wrong=state.wrong,
    score=state.odds,
    suggested=state.suggested,
    rate=state.rate,
    rate_low=jnp.clip(middle - half, 0, state.rate),
    rate_high=jnp.clip(middle + half, state.rate, 1),
  )


def label_trust(
  *,
  batch_size: int,
  num_steps: int,
  warmup_passes: int = 3,
  least_weight: float = 0.3,
  relabel: bool = True,
) -> Sampler:
  """Weighs examples by the probability that their label is right.

  The state has the estimates: `rate`, of all labels, and `wrong`, of each. They
  are made at the end of a warm-up, and again after each pass. A run of fewer
  passes than the warm-up and two makes them too, if it can, but draws
  uniformly: its network has learned little by heart, and trust gains nothing.

  Args:
    batch_size: B.
    num_steps: of the run.
    warmup_passes: over the pool. To judge labels, half of a short run is
      enough, if it has two passes.
    least_weight: a in [0, 1], of an example whose label is surely wrong. 0
      gains more where mistakes are many and do not depend on the example.
    relabel: whether labels that are probably wrong are replaced where one other
      class is likely. Otherwise they only lose their weight.

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
  check_fraction(least_weight=least_weight)

  def init(key: Array, pool: Pool) -> LabelTrustState:
    check_batch(batch_size, pool)
    check_partition(pool, "label")
    if not jnp.issubdtype(pool.label.dtype, jnp.integer):
      raise ValueError("label_trust needs classes, got targets")
    size = pool.label.shape[0]
    num_classes = pool.partitions["label"].size.shape[0]
    zeros = jnp.zeros(size, jnp.float32)
    return LabelTrustState(
      step=jnp.int32(0),
      passes=cursor.start(key, jnp.array([size], jnp.int32)),
      # A copy: the state is donated to the step, and the labels are the pool's.
      label=jnp.array(pool.label, jnp.int32),
      seen=jnp.zeros(size, bool),
      odds=zeros,
      predicted=jnp.zeros(size, jnp.int32),
      confidence=zeros,
      suggested=jnp.full(size, -1, jnp.int32),
      certainty=zeros,
      flips=jnp.full((num_classes, num_classes), 1 / num_classes, jnp.float32),
      share=jnp.zeros(num_classes, jnp.float32),
      wrong=zeros,
      rate=jnp.float32(0),
      num_anchors=jnp.float32(0),
      ignored=jnp.int32(0),
    )

  def sample(key: Array, state: LabelTrustState, pool: Pool) -> Draw:
    whole_pool = jnp.zeros(batch_size, jnp.int32)
    index = cursor.look_ahead(
      state.passes, whole_pool, jnp.arange(batch_size, dtype=jnp.int32)
    )
    ones = jnp.ones(batch_size, jnp.float32)
    size = state.label.shape[0]
    if round(num_steps * batch_size / size) < warmup_passes + 2:
      return Draw(index, ones, ones)
    wrong, label = state.wrong[index], state.label[index]
    weight = 1 - (1 - least_weight) * wrong
    if relabel:
      certainty = state.certainty[index]
      replaced = (wrong > 0.5) & (certainty > _SURE)
      weight = jnp.where(replaced, wrong * certainty, weight)
      label = jnp.where(replaced, state.suggested[index], label)
    return Draw(index, ones, weight, label=label)

  def update(
    state: LabelTrustState, draw: Draw, feedback: Array | tuple[()]
  ) -> LabelTrustState:
    if isinstance(feedback, jax.Array):
      state = _remember(state, draw.index, feedback)
    passes = cursor.advance(state.passes, jnp.array([batch_size], jnp.int32))
    begins_pass = passes.epoch[0] > state.passes.epoch[0]
    state = state._replace(step=count_up(state.step), passes=passes)
    size = state.label.shape[0]
    two, most = (-(-n * size // batch_size) for n in (2, warmup_passes))
    warmup = min(max(num_steps // 2, two), most)
    if warmup >= num_steps:
      return state  # Nothing would read a judgement, but each step pay for it.
    is_warm = state.step == warmup
    state = jax.lax.cond(is_warm, _calibrate, lambda state: state, state)
    judges = is_warm | (begins_pass & (state.step > warmup))
    corrects = state.step <= 2 * warmup
    return jax.lax.cond(judges, _judge, lambda s, _: s, state, corrects)

  spec = SamplerSpec(partitions=("label",), per_example_state=True)
  return Sampler(
    init, sample, update, Signal(_measure), judge=_judgement, spec=spec
  )
