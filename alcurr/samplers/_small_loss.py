"""Trains on the candidates with the smallest losses, against wrong labels.

Networks learn clean labels before wrong ones, so that for most of a run a
small loss means a label that is probably right (Han et al. 2018, "Co-teaching:
Robust Training of Deep Neural Networks with Extremely Noisy Labels").

  R(t) = 1 - τ min(t / T_k, 1)      the share kept at step t, τ = 1 - keep
  batch = the B smallest losses of the next B / R(t) examples

Ours: the batch has a fixed size and the candidates grow, where the paper takes
R(t) of a fixed batch; and the network selects for itself. The paper has two
networks, each of which selects for the other (`with_scorer` has one select for
the other).

Cost a step: a forward pass on M = B / keep candidates. Drawn examples that are
not yet needed, early on, are drawn again by the next step.
"""

from typing import NamedTuple

import jax.numpy as jnp

from alcurr.core.arguments import check_choice, check_fraction
from alcurr.core.counters import count_up
from alcurr.samplers import _candidates, cursor
from alcurr.types import (
  Array,
  Draw,
  Pool,
  PyTree,
  Sampler,
  SamplerSpec,
  Selection,
)


class SmallLossState(NamedTuple):
  step: Array  # [] int32
  passes: cursor.Cursor


def small_loss(
  *,
  batch_size: int,
  keep: float = 0.7,
  warmup: float = 0.1,
  scoring_mode: str = "eval",
  num_steps: int | None = None,
) -> Sampler:
  """Keeps the B smallest losses of M candidates.

  Args:
    batch_size: B.
    keep: B / M after the warm-up, about the share of labels that are right.
    warmup: T_k, the share of the run in which the share kept falls from 1.
    scoring_mode: of the forward pass that scores, "eval" or "train".
    num_steps: of the run; None if unknown, which needs `warmup=0`.
  """
  passes = _candidates.make_passes(batch_size=batch_size, keep=keep)
  num_candidates = passes.num_candidates
  check_fraction(warmup=warmup)
  check_choice(_candidates.SCORING_MODES, scoring_mode=scoring_mode)
  if warmup and num_steps is None:
    raise ValueError(f"warmup {warmup} needs num_steps; or take warmup=0")
  warmup_steps = round(warmup * num_steps) if warmup else 0

  def count_considered(step: Array) -> Array:
    """Returns B / R(t), [] int32 in [B, M]."""
    progress = step.astype(jnp.float32) / max(warmup_steps, 1)
    share = 1 - (1 - keep) * progress
    count = jnp.round(batch_size / jnp.maximum(share, keep)).astype(jnp.int32)
    growing = jnp.clip(count, batch_size, num_candidates)
    return jnp.where(step < warmup_steps, growing, num_candidates)

  def init(key: Array, pool: Pool) -> SmallLossState:
    return SmallLossState(jnp.int32(0), passes.start(key, pool))

  def select(
    key: Array, state: SmallLossState, draw: Draw, score: Array
  ) -> Selection:
    slot = jnp.arange(num_candidates, dtype=jnp.int32)
    considered = slot < count_considered(state.step)
    ranked = jnp.where(considered, -score, -jnp.inf)
    return _candidates.unweighted(_candidates.largest(ranked, batch_size))

  def update(
    state: SmallLossState, draw: Draw, feedback: PyTree
  ) -> SmallLossState:
    used = count_considered(state.step)
    return SmallLossState(
      count_up(state.step), passes.advance(state.passes, used)
    )

  return Sampler(
    init,
    lambda key, state, pool: passes.draw(state.passes),
    update,
    score=lambda candidates: candidates.loss,
    select=select,
    spec=SamplerSpec(num_candidates=num_candidates, scoring_mode=scoring_mode),
  )
