"""Trains on candidates with a probability that rises with their loss.

Jiang et al. 2019, "Accelerating Deep Learning by Focusing on the Biggest
Losers". With M = B / keep candidates, l_i their losses and β = 1 / keep - 1:

  percentile  u_i = (rank of l_i among the M + 1/2) / M; B are drawn without
              replacement, p_i ∝ u_i^β. As in MosaicML's Composer.
  history     p_i = max(s_min, CDF_H(l_i)^β), H the last 1,024 losses scored,
              these M included, and CDF_H(l) the share of H below l. As in the
              paper, whose expected share kept is keep, too.

The paper keeps each candidate with probability p_i and collects those kept
until there are B of them. Here a step has M candidates and selects exactly B:
those with the smallest v_i / p_i, v_i uniform. The paper keeps those with
v_i / p_i < 1, so whatever it would keep comes first. This is sequential Poisson
sampling: a candidate's chance is proportional to p_i, nearly.

Composer alternates with ordinary batches: between two drawn batches that are
scored it trains on all of one. Here that batch takes M / B steps.

Cost of a step that scores: a forward pass on M candidates, and M * 1,024
comparisons for the history. Other steps: none.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_at_least, check_choice, check_fraction
from alcurr.core.counters import count_in_ring, count_up
from alcurr.samplers import _candidates, cursor
from alcurr.types import (
  Array,
  Draw,
  Pool,
  PyTree,
  Sampler,
  SamplerSpec,
  Selection,
  Signal,
)

VARIANTS = ("percentile", "history")


class LossHistory(NamedTuple):
  """A ring of the losses scored last."""

  loss: Array  # [H] float32
  count: Array  # [] int32, see `count_in_ring`


class SelectiveBackpropState(NamedTuple):
  step: Array  # [] int32
  passes: cursor.Cursor
  history: LossHistory | tuple[()]


def _add(history: LossHistory, loss: Array, scored: Array) -> LossHistory:
  """Adds the losses [M] that are finite, if they were scored; M <= H."""
  size = history.loss.shape[0]
  added = jnp.isfinite(loss) & scored
  number = jnp.cumsum(added, dtype=jnp.int32)
  place = jnp.where(added, (history.count + number - 1) % size, size)
  return LossHistory(
    history.loss.at[place].set(loss, mode="drop"),
    count_in_ring(history.count, number[-1], size),
  )


def _share_below(history: LossHistory, loss: Array) -> Array:
  """Returns CDF_H(loss): [M] in [0, 1), and 0 for an empty history."""
  size = history.loss.shape[0]
  count = jnp.minimum(history.count, size)
  known = jnp.arange(size, dtype=jnp.int32) < count
  below = known[None] & (history.loss[None] < loss[:, None])
  share = below.sum(1, dtype=jnp.int32).astype(jnp.float32)
  return share / jnp.maximum(count, 1).astype(jnp.float32)


def _select_by_percentile(
  key: Array, loss: Array, power: float, batch_size: int
) -> Array:
  """Returns slots [B], drawn with p ∝ percentile^β."""
  num_candidates = loss.shape[0]
  place = jnp.arange(num_candidates, dtype=jnp.int32)
  rank = jnp.zeros_like(place).at[jnp.argsort(loss)].set(place)
  percentile = (rank.astype(jnp.float32) + 0.5) / num_candidates
  log_weight = jnp.where(
    jnp.isfinite(loss), power * jnp.log(percentile), -jnp.inf
  )
  return _candidates.draw_slots(key, log_weight, batch_size)


def _select_by_history(
  key: Array,
  loss: Array,
  history: LossHistory,
  power: float,
  min_prob: float,
  batch_size: int,
) -> Array:
  """Returns the slots [B] of the smallest v_i / p_i."""
  share = _share_below(_add(history, loss, jnp.bool_(True)), loss)
  prob = jnp.maximum(share**power, min_prob)
  # A chance of 0 comes last, but before losses that are not finite.
  prob = jnp.maximum(prob, jnp.finfo(jnp.float32).tiny)
  noise = jax.random.uniform(key, prob.shape, jnp.float32)
  ranked = jnp.where(jnp.isfinite(loss), -noise / prob, -jnp.inf)
  return _candidates.largest(ranked, batch_size)


class _Schedule(NamedTuple):
  """Which steps score, of a cycle that repeats from `first` to `end`."""

  first: int
  end: int | None  # None: the run's, unknown
  scored: int  # steps of a cycle that score, its first ones
  cycle: int

  @property
  def always(self) -> bool:
    return self.first == 0 and self.end is None and self.scored == self.cycle

  def is_scoring(self, step: Array) -> Array:
    since = step - self.first
    scores = (since >= 0) & (since % self.cycle < self.scored)
    return scores if self.end is None else scores & (step < self.end)

  def share(self, num_steps: int | None) -> float:
    """Returns the share of the run's steps that score."""
    if num_steps is None:
      return self.scored / self.cycle
    end = num_steps if self.end is None else self.end
    cycles, rest = divmod(max(end - self.first, 0), self.cycle)
    return (cycles * self.scored + min(rest, self.scored)) / num_steps


def _make_schedule(
  start: float,
  end: float,
  interrupt: int,
  steps_between: int,
  num_steps: int | None,
) -> _Schedule:
  check_fraction(start=start, end=end)
  if start > end:
    raise ValueError(f"start must be at most end, got {start} and {end}")
  if interrupt != 0:
    check_at_least(2, interrupt=interrupt)
  if num_steps is None and (start > 0 or end < 1):
    text = f"start {start} and end {end} need num_steps; or take 0 and 1"
    raise ValueError(text)
  scored = max(interrupt - 1, 1)
  return _Schedule(
    # Less a little, for a product such as 0.7 * 10.
    first=math.ceil(start * num_steps - 1e-6) if start > 0 else 0,
    end=math.ceil(end * num_steps - 1e-6) if end < 1 else None,
    scored=scored,
    cycle=scored + (steps_between if interrupt else 0),
  )


def selective_backprop(
  *,
  batch_size: int,
  variant: str = "percentile",
  keep: float = 0.5,
  start: float = 0.5,
  end: float = 0.9,
  interrupt: int = 2,
  min_prob: float = 0.0,
  history_size: int = 1024,
  scoring_mode: str = "eval",
  num_steps: int | None = None,
) -> Sampler:
  """Selects B of M candidates, those of a larger loss more often.

  The defaults are Composer's. Those of the paper are `variant="history"`,
  `start=0`, `end=1` and `interrupt=0`.

  Args:
    batch_size: B.
    variant: "percentile" or "history".
    keep: B / M, which sets β too.
    start: share of the run before the first step that scores.
    end: share of the run after which none does.
    interrupt: n, of each n drawn batches of M the last is not scored: all of
      it is trained on, in M / B steps. 0: each is scored.
    min_prob: s_min of the history.
    history_size: H, at least M.
    scoring_mode: of the forward pass that scores, "eval" or "train".
    num_steps: of the run; None if unknown, which needs `start=0` and `end=1`.
  """
  check_choice(VARIANTS, variant=variant)
  passes = _candidates.make_passes(batch_size=batch_size, keep=keep)
  num_candidates = passes.num_candidates
  check_fraction(min_prob=min_prob)
  if variant == "history":
    check_at_least(num_candidates, history_size=history_size)
  check_choice(_candidates.SCORING_MODES, scoring_mode=scoring_mode)
  steps_between = max(round(num_candidates / batch_size), 1)
  schedule = _make_schedule(start, end, interrupt, steps_between, num_steps)
  power = 1 / keep - 1  # β

  def init(key: Array, pool: Pool) -> SelectiveBackpropState:
    history = ()
    if variant == "history":
      losses = jnp.zeros(history_size, jnp.float32)
      history = LossHistory(losses, jnp.int32(0))
    return SelectiveBackpropState(
      jnp.int32(0), passes.start(key, pool), history
    )

  def select(
    key: Array, state: SelectiveBackpropState, draw: Draw, score: Array
  ) -> Selection:
    if variant == "percentile":
      slots = _select_by_percentile(key, score, power, batch_size)
    else:
      slots = _select_by_history(
        key, score, state.history, power, min_prob, batch_size
      )
    return _candidates.unweighted(slots)

  def is_scoring(state: SelectiveBackpropState) -> Array:
    return schedule.is_scoring(state.step)

  def update(
    state: SelectiveBackpropState, draw: Draw, feedback: PyTree
  ) -> SelectiveBackpropState:
    scored, history = is_scoring(state), state.history
    if variant == "history" and not isinstance(feedback, tuple):
      history = _add(history, feedback, scored)
    used = jnp.where(scored, num_candidates, batch_size)
    return SelectiveBackpropState(
      count_up(state.step), passes.advance(state.passes, used), history
    )

  signal = Signal(lambda key, info: info.candidates.score)
  return Sampler(
    init,
    lambda key, state, pool: passes.draw(state.passes),
    update,
    signal=signal if variant == "history" else None,
    score=lambda candidates: candidates.loss,
    select=select,
    is_scoring=None if schedule.always else is_scoring,
    spec=SamplerSpec(
      num_candidates=num_candidates,
      scoring_mode=scoring_mode,
      scoring_share=schedule.share(num_steps),
    ),
  )
