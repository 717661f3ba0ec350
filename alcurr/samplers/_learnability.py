"""Draws candidates by how much a reference model has that is still to learn.

Evans et al. 2024, "Data Curation via Joint Example Selection Further
Accelerates Multimodal Learning" (JEST). The learnability of example i:

  score_i = l_i(θ) - l_i(θ_ref)      p_i ∝ exp(score_i / temperature)

JEST fills a batch in 16 chunks. Each is drawn without replacement, and its
examples change the scores of the others, since in a contrastive loss the
examples of a batch are each other's negatives. A classifier's losses do not
depend on the rest of the batch. Then no score changes, and the chunks together
are one draw of B without replacement, which is what happens here.

So it is `rho_loss`, drawn without replacement: the paper's reference is a model
pretrained on curated data, not on a part of the pool.

Cost a step: a forward pass on M = B / keep candidates.
"""

from alcurr.core.arguments import check_positive
from alcurr.samplers import _candidates
from alcurr.samplers._rho_loss import reducible_loss
from alcurr.types import Array, Sampler


def learnability(
  *,
  batch_size: int,
  keep: float = 0.2,
  temperature: float = 1.0,
  reference: str = "irreducible",
  scoring_mode: str = "eval",
) -> Sampler:
  """Draws B of M candidates without replacement, by their learnability.

  Args:
    batch_size: B.
    keep: B / M; the paper's is 1 - its filtering ratio of 0.8.
    temperature: the lower, the more often the largest scores are drawn.
    reference: the name in `pool.scores` of the reference model's losses.
    scoring_mode: of the forward pass that scores, "eval" or "train".
  """
  check_positive(temperature=temperature)

  def select(key: Array, score: Array) -> Array:
    return _candidates.draw_slots(key, score / temperature, batch_size)

  return _candidates.make_sampler(
    batch_size=batch_size,
    keep=keep,
    scoring_mode=scoring_mode,
    score=lambda candidates: reducible_loss(candidates, reference),
    select=select,
    scores=(reference,),
  )
