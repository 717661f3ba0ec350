"""Trains on the candidates that the model is least certain of.

The measures of active learning (Settles 2009, "Active Learning Literature
Survey", section 3.1), which look at no label. With p the probabilities of a
candidate's classes, p(1) >= p(2) >= ...:

  entropy     -Σ p log p
  margin      1 - (p(1) - p(2))
  confidence  1 - p(1), the least confidence

The batch is the B most uncertain of M = B / keep candidates, or is drawn from
them without replacement in proportion to exp(measure / temperature). Settles
queries labels; here all are known, and the measures choose what to train on.

Cost a step: a forward pass on M candidates.
"""

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_choice, check_positive
from alcurr.samplers import _candidates
from alcurr.types import Array, CandidateInfo, Sampler


def _entropy(logits: Array) -> Array:
  log_prob = jax.nn.log_softmax(logits)
  return -(jnp.exp(log_prob) * log_prob).sum(1)


def _margin(logits: Array) -> Array:
  prob, _ = jax.lax.top_k(jax.nn.softmax(logits), 2)
  return 1 - (prob[:, 0] - prob[:, 1])


def _confidence(logits: Array) -> Array:
  return 1 - jax.nn.softmax(logits).max(1)


MEASURES = {
  "entropy": _entropy,
  "margin": _margin,
  "confidence": _confidence,
}


def uncertainty(
  *,
  batch_size: int,
  measure: str = "entropy",
  keep: float = 0.5,
  selection: str = "top",
  temperature: float = 1.0,
  scoring_mode: str = "eval",
) -> Sampler:
  """Keeps B of M candidates by the uncertainty of the model's prediction.

  Args:
    batch_size: B.
    measure: "entropy", "margin" or "confidence".
    keep: B / M.
    selection: "top", the most uncertain; or "sampled".
    temperature: of "sampled"; the lower, the more it is like "top".
    scoring_mode: of the forward pass that scores, "eval" or "train".
  """
  check_choice(MEASURES, measure=measure)
  check_choice(("top", "sampled"), selection=selection)
  check_positive(temperature=temperature)

  def score(candidates: CandidateInfo) -> Array:
    return MEASURES[measure](candidates.logits)

  def select(key: Array, score: Array) -> Array:
    if selection == "top":
      return _candidates.largest(score, batch_size)
    return _candidates.draw_slots(key, score / temperature, batch_size)

  return _candidates.make_sampler(
    batch_size=batch_size,
    keep=keep,
    scoring_mode=scoring_mode,
    score=score,
    select=select,
  )
