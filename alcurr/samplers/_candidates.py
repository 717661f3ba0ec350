"""Candidates in shuffled passes, and ways to select a batch from them.

The samplers of online batch selection share this: each step draws M = B / keep
candidates, scores them by a forward pass, and trains on B.
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
from alcurr.samplers import cursor
from alcurr.types import (
  Array,
  CandidateInfo,
  Draw,
  Pool,
  PyTree,
  Sampler,
  SamplerSpec,
  Selection,
)

SCORING_MODES = ("eval", "train")


class CandidatePasses(NamedTuple):
  """Draws of M candidates by shuffled passes over the pool."""

  num_candidates: int  # M
  start: Callable[[Array, Pool], cursor.Cursor]  # (key, pool) -> passes
  draw: Callable[[cursor.Cursor], Draw]  # (passes) -> M candidates
  # (passes, how many of the M were used) -> passes
  advance: Callable[[cursor.Cursor, Array | int], cursor.Cursor]


def make_passes(*, batch_size: int, keep: float) -> CandidatePasses:
  """Builds the passes that B / keep candidates at a time are drawn from.

  `start` raises ValueError where the pool has fewer, and a candidate that was
  not used by a step is drawn again by the next.
  """
  check_at_least(1, batch_size=batch_size)
  check_positive_fraction(keep=keep)
  num_candidates = round(batch_size / keep)

  def start(key: Array, pool: Pool) -> cursor.Cursor:
    num_examples = pool.label.shape[0]
    if num_candidates > num_examples:
      text = f"batch_size {batch_size} and keep {keep} need {num_candidates} "
      raise ValueError(f"{text}candidates, the pool has {num_examples}")
    return cursor.start(key, jnp.array([num_examples], jnp.int32))

  def draw(passes: cursor.Cursor) -> Draw:
    whole_pool = jnp.zeros(num_candidates, jnp.int32)  # the only group
    ahead = jnp.arange(num_candidates, dtype=jnp.int32)
    ones = jnp.ones(num_candidates, jnp.float32)
    return Draw(cursor.look_ahead(passes, whole_pool, ahead), ones, ones)

  def advance(passes: cursor.Cursor, count: Array | int) -> cursor.Cursor:
    return cursor.advance(passes, jnp.asarray(count, jnp.int32)[None])

  return CandidatePasses(num_candidates, start, draw, advance)


def largest(score: Array, batch_size: int) -> Array:
  """Returns the slots [B] of the largest scores [M], ties by slot.

  Scores that are not finite come last.
  """
  ranked = jnp.where(jnp.isfinite(score), score, -jnp.inf)
  _, slots = jax.lax.top_k(ranked, batch_size)
  return slots.astype(jnp.int32)


def draw_slots(
  key: Array, log_weight: Array, batch_size: int, replacement: bool = False
) -> Array:
  """Draws slots [B] one by one, with probability ∝ exp(log_weight [M]).

  Weights that are not finite count as zero. Without replacement they are drawn
  only after all others, and with it only if there are no others; uniformly.
  """
  possible = jnp.isfinite(log_weight)
  log_weight = jnp.where(possible, log_weight, 0)
  if replacement:
    logits = jnp.where(possible | ~possible.any(), log_weight, -jnp.inf)
    slots = jax.random.categorical(key, logits, shape=(batch_size,))
    return slots.astype(jnp.int32)
  # The largest of log-weights with Gumbel noise are such a draw.
  noise = jax.random.gumbel(key, log_weight.shape, jnp.float32)
  order = jnp.lexsort((-(log_weight + noise), ~possible))
  return order[:batch_size].astype(jnp.int32)


def unweighted(slots: Array) -> Selection:
  """Selects slots [B] with the loss weight 1."""
  return Selection(slots, jnp.ones(slots.shape, jnp.float32))


def check_scores(pool: Pool, names: tuple[str, ...]) -> None:
  """Raises ValueError if a pool lacks scores that a sampler reads."""
  for name in names:
    if name not in pool.scores:
      text = f"the pool has scores {sorted(pool.scores)}, not {name!r}; give "
      text += "a number for each example in Pool(..., scores=...)"
      raise ValueError(text)


def make_sampler(
  *,
  batch_size: int,
  keep: float,
  scoring_mode: str,
  score: Callable[[CandidateInfo], PyTree],
  select: Callable[[Array, PyTree], Array],
  scores: tuple[str, ...] = (),
) -> Sampler:
  """Builds a sampler that keeps nothing but its place in the passes.

  Args:
    batch_size: B.
    keep: B / M, in (0, 1].
    scoring_mode: of the forward pass, "eval" or "train".
    score: of the candidates.
    select: (key, score) -> slots [B], trained on with weight 1.
    scores: of the pool, that `score` reads.
  """
  passes = make_passes(batch_size=batch_size, keep=keep)
  check_choice(SCORING_MODES, scoring_mode=scoring_mode)

  def init(key: Array, pool: Pool) -> cursor.Cursor:
    check_scores(pool, scores)
    return passes.start(key, pool)

  def update(
    state: cursor.Cursor, draw: Draw, feedback: PyTree
  ) -> cursor.Cursor:
    return passes.advance(state, passes.num_candidates)

  return Sampler(
    init,
    lambda key, state, pool: passes.draw(state),
    update,
    score=score,
    select=lambda key, state, draw, score: unweighted(select(key, score)),
    spec=SamplerSpec(
      scores=scores,
      num_candidates=passes.num_candidates,
      scoring_mode=scoring_mode,
    ),
  )
