"""Draws candidates by an upper bound of their gradient's norm, without bias.

Katharopoulos & Fleuret 2018, "Not All Samples Are Created Equal: Deep Learning
with Importance Sampling". Of M = B / keep candidates, B are drawn with
replacement, and their loss weights keep the expected gradient what it was:

  ĝ_i = ||∂l_i/∂z_i||                 z the logits; for cross-entropy, ||p - y||
  g_i = ĝ_i / Σ ĝ                     the probability of each draw
  w_i = 1 / (M g_i)                   E[w_i l_i] = the candidates' mean loss

Uniform batches are trained on until this is worth its forward pass. The
reduction of variance is that of a batch τ times as large, and

  τ = EMA of sqrt(n Σ g_i²)           n = M, or B at a step that does not score
  it scores if τ > (M + 3 B) / (3 B)  a backward pass costs two forward passes

With `last_layer`, ĝ_i is the norm of the last layer's whole gradient: it is
multiplied by sqrt(1 + ||h_i||²), h_i the layer's input and 1 its bias.

Ours: a step that does not score measures τ in its training forward pass, on the
images as augmented. Cost of a step that scores: a forward pass on M candidates.
With `last_layer`, the features h of a model with batch norm or dropout cost
another in train mode, and on B at steps that do not score.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_choice, check_fraction, check_positive
from alcurr.core.counters import count_up
from alcurr.samplers import _candidates, cursor
from alcurr.types import (
  Array,
  CandidateInfo,
  Draw,
  Pool,
  PyTree,
  Sampler,
  SamplerSpec,
  Selection,
  Signal,
  StepInfo,
)


class ImportanceSamplingState(NamedTuple):
  tau: Array  # [] float32, of the gain in variance; 0 at first, as the paper's
  passes: cursor.Cursor
  ignored: Array  # [] int32, steps whose norms were not finite


def _probability(norm: Array) -> Array:
  """Returns the norms [n] over their sum; not finite count as 0."""
  norm = jnp.where(jnp.isfinite(norm) & (norm > 0), norm, 0)
  norm = norm / jnp.maximum(norm.max(), jnp.finfo(jnp.float32).tiny)
  total = norm.sum()
  uniform = jnp.full_like(norm, 1 / norm.shape[0])
  return jnp.where(total > 0, norm / jnp.where(total > 0, total, 1), uniform)


def _measure_tau(norm: Array) -> Array:
  prob = _probability(norm)
  return jnp.sqrt(prob.shape[0] * jnp.square(prob).sum())


def importance_sampling(
  *,
  batch_size: int,
  keep: float = 1 / 3,
  threshold: float | None = None,
  smoothing: float = 0.9,
  last_layer: bool = False,
  scoring_mode: str = "eval",
) -> Sampler:
  """Draws B of M candidates by their gradients' norm, and weights them.

  Args:
    batch_size: B.
    keep: B / M.
    threshold: of τ, from which on candidates are scored. None: where the
      variance saved is worth the forward pass; 0 to score at every step.
    smoothing: of τ's moving average, in [0, 1].
    last_layer: whether the norm is of the last layer's gradient. The model
      must have `features`.
    scoring_mode: of the forward pass that scores, "eval" or "train".
  """
  passes = _candidates.make_passes(batch_size=batch_size, keep=keep)
  num_candidates = passes.num_candidates
  check_fraction(smoothing=smoothing)
  check_choice(_candidates.SCORING_MODES, scoring_mode=scoring_mode)
  if threshold is None:
    threshold = (num_candidates + 3 * batch_size) / (3 * batch_size)
  if threshold != 0:
    check_positive(threshold=threshold)

  def norms(info: CandidateInfo | StepInfo) -> Array:
    norm = jnp.linalg.norm(info.logit_grads(), axis=1)
    if last_layer:
      squares = jnp.square(info.features()).sum(1)
      norm = norm * jnp.sqrt(1 + squares)
    return norm

  def init(key: Array, pool: Pool) -> ImportanceSamplingState:
    return ImportanceSamplingState(
      jnp.float32(0), passes.start(key, pool), jnp.int32(0)
    )

  def is_scoring(state: ImportanceSamplingState) -> Array:
    return state.tau > threshold

  def select(
    key: Array, state: ImportanceSamplingState, draw: Draw, score: Array
  ) -> Selection:
    prob = _probability(score)
    log_prob = jnp.log(prob)  # -inf is never drawn
    slots = _candidates.draw_slots(key, log_prob, batch_size, replacement=True)
    return Selection(slots, 1 / (num_candidates * prob[slots]))

  def measure(key: Array, info: StepInfo) -> Array:
    if threshold == 0:
      return _measure_tau(info.candidates.score)
    return jax.lax.cond(
      info.candidates.is_scored,
      lambda: _measure_tau(info.candidates.score),
      lambda: _measure_tau(norms(info)),
    )

  def update(
    state: ImportanceSamplingState, draw: Draw, feedback: PyTree
  ) -> ImportanceSamplingState:
    used = jnp.where(is_scoring(state), num_candidates, batch_size)
    if threshold == 0:
      used = num_candidates
    state = state._replace(passes=passes.advance(state.passes, used))
    if isinstance(feedback, tuple):
      return state
    finite = jnp.isfinite(feedback)
    tau = smoothing * state.tau + (1 - smoothing) * feedback
    return state._replace(
      tau=jnp.where(finite, tau, state.tau),
      ignored=count_up(state.ignored, jnp.where(finite, 0, 1)),
    )

  return Sampler(
    init,
    lambda key, state, pool: passes.draw(state.passes),
    update,
    signal=Signal(measure),
    score=norms,
    select=select,
    is_scoring=is_scoring if threshold else None,
    spec=SamplerSpec(num_candidates=num_candidates, scoring_mode=scoring_mode),
  )
