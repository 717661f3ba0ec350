"""Trains on candidates that are learnable, worth learning and not yet learned.

Mindermann et al. 2022, "Prioritized Training on Points that are Learnable,
Worth Learning, and Not Yet Learnt". The reducible hold-out loss of example i:

  score_i = l_i(θ) - l_i(θ_IL)

The second term, the irreducible loss, is that of a model trained on hold-out
data: it is computed once, before training, and read from the pool. Examples
with wrong labels and outliers have a large one; redundant ones a small first.

  top        the B largest scores of M = B / keep candidates
  boltzmann  B draws with replacement, p_i ∝ exp(score_i / temperature), as in
             the authors' code

Cost a step: a forward pass on M candidates. A model for the irreducible loss
costs its training and a forward pass on the pool.
"""

import jax.numpy as jnp

from alcurr.core.arguments import check_choice, check_positive
from alcurr.samplers import _candidates
from alcurr.types import Array, CandidateInfo, Sampler

SELECTIONS = ("top", "boltzmann")


def reducible_loss(candidates: CandidateInfo, reference: str) -> Array:
  """Returns the losses [M] minus those of a reference, scores of the pool."""
  known = candidates.pool.scores[reference][candidates.draw.index]
  return candidates.loss - known.astype(jnp.float32)


def rho_loss(
  *,
  batch_size: int,
  keep: float = 0.1,
  selection: str = "top",
  temperature: float = 0.25,
  reference: str = "irreducible",
  scoring_mode: str = "eval",
) -> Sampler:
  """Selects B of M candidates by their reducible hold-out loss.

  Args:
    batch_size: B.
    keep: B / M.
    selection: "top" or "boltzmann".
    temperature: of "boltzmann"; the lower, the more it is like "top".
    reference: the irreducible losses' name in `pool.scores`.
    scoring_mode: of the forward pass that scores, "eval" or "train".
  """
  check_choice(SELECTIONS, selection=selection)
  check_positive(temperature=temperature)

  def select(key: Array, score: Array) -> Array:
    if selection == "top":
      return _candidates.largest(score, batch_size)
    log_weight = score / temperature
    return _candidates.draw_slots(key, log_weight, batch_size, replacement=True)

  return _candidates.make_sampler(
    batch_size=batch_size,
    keep=keep,
    scoring_mode=scoring_mode,
    score=lambda candidates: reducible_loss(candidates, reference),
    select=select,
    scores=(reference,),
  )
