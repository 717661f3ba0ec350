"""DoReMi: weights the groups whose loss exceeds a reference model's most.

Xie et al. 2023, "DoReMi: Optimizing Data Mixtures Speeds Up Language Model
Pretraining", arXiv:2305.10429, algorithm 1, by group distributionally robust
optimisation. The loss l(x) of the model is compared with that of a reference
model, l_ref(x):

  λ_k = mean of max(l(x) - l_ref(x), 0) over the batch's examples of group k
  α_k <- α_k exp(η λ_k), normalised; α <- (1 - c) α + c / K     α = 1/K at first

The model is trained on uniformly drawn groups, where an example of group k has
the loss weight K α_k. The result is the average of α over the run, the state's
`average`: the mixture to train another model on, see `mixture`.

As in the authors' code, a group that the batch lacks keeps its last λ. Ours: a
group that was never drawn counts as the mean of those that were; excesses that
are not finite are ignored and counted; and by weighting="draws" the model is
trained on groups drawn from α itself, with loss weights of 1.

The loss comes from the training forward pass; the reference model's losses are
scores of the pool. Cost a step: O(B) index arithmetic and no further FLOPs of
the model, but a reference model must be trained and score the pool.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_choice, check_fraction, check_positive
from alcurr.core.counters import count_up
from alcurr.samplers._arm_draw import make_arm_draw
from alcurr.samplers._arm_means import arm_means
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

WEIGHTINGS = ("loss", "draws")
_MOST = 1e6  # of λ, and of η λ


class DoReMiState(NamedTuple):
  step: Array  # [] int32, updates of α
  alpha: Array  # [K] float32
  average: Array  # [K] float32, of α after each update; uniform before
  excess: Array  # [K] float32, λ
  seen: Array  # [K] bool, whether λ was ever measured
  learning_rate: Array  # [] float32, η
  smoothing: Array  # [] float32, c
  passes: PyTree  # over the groups, see `_arm_draw`
  ignored: Array  # [] int32, excesses that were not finite


def _learn(state: DoReMiState, draw: Draw, excess: Array) -> DoReMiState:
  """Updates α by the excess losses [B] of a batch."""
  num_arms = state.alpha.shape[0]
  mean, count, ignored = arm_means(jnp.maximum(excess, 0), draw.arm, num_arms)
  # In this range float32 can compare any two.
  mean = jnp.minimum(mean, _MOST / jnp.maximum(state.learning_rate, 1))
  excess = jnp.where(count > 0, mean, state.excess)
  seen = state.seen | (count > 0)
  typical = jnp.where(seen, excess, 0).sum() / jnp.maximum(
    seen.sum(dtype=jnp.float32), 1
  )
  # α is never 0, thanks to c > 0.
  logits = jnp.log(state.alpha) + state.learning_rate * jnp.where(
    seen, excess, typical
  )
  alpha = (1 - state.smoothing) * jax.nn.softmax(logits)
  alpha += state.smoothing / num_arms
  step = count_up(state.step)
  change = (alpha - state.average) / step.astype(jnp.float32)
  return state._replace(
    step=step,
    alpha=alpha,
    average=state.average + change,
    excess=excess,
    seen=seen,
    ignored=count_up(state.ignored, ignored),
  )


def doremi(
  *,
  batch_size: int,
  reference: str = "difficulty",
  learning_rate: float = 1.0,
  smoothing: float = 1e-3,
  weighting: str = "loss",
  partition: str = "groups",
  replacement: bool = False,
) -> Sampler:
  """Weights groups by their excess loss over a reference model.

  Args:
    batch_size: B; a group is drawn for every example.
    reference: the name in `pool.scores` of the reference model's losses; the
      difficulty is one, with difficulty.scorer=loss.
    learning_rate: η, in [1e-18, 1e18].
    smoothing: c, the share of α that is uniform, in (0, 1].
    weighting: "loss", the paper's, draws groups uniformly and weights their
      losses by α; "draws" draws groups from α.
    partition: the name in `pool.partitions` of the arms to mix.
    replacement: within a group, draw with replacement; else by shuffled passes
      over each group.
  """
  check_positive(learning_rate=learning_rate, smoothing=smoothing)
  check_fraction(smoothing=smoothing)
  check_choice(WEIGHTINGS, weighting=weighting)
  arm_draw = make_arm_draw(
    batch_size=batch_size, partition=partition, replacement=replacement
  )

  def init(key: Array, pool: Pool) -> DoReMiState:
    if reference not in pool.scores:
      known = sorted(pool.scores)
      raise ValueError(f"reference: no score {reference!r}, only {known}")
    passes = arm_draw.start(key, pool)
    num_arms = pool.partitions[partition].size.shape[0]
    uniform = jnp.full(num_arms, 1 / num_arms, jnp.float32)
    return DoReMiState(
      step=jnp.int32(0),
      alpha=uniform,
      average=jnp.copy(uniform),
      excess=jnp.zeros(num_arms, jnp.float32),
      seen=jnp.zeros(num_arms, bool),
      learning_rate=jnp.float32(learning_rate),
      smoothing=jnp.float32(smoothing),
      passes=passes,
      ignored=jnp.int32(0),
    )

  def sample(key: Array, state: DoReMiState, pool: Pool) -> Draw:
    key_arm, key_slot = jax.random.split(key)
    if weighting == "draws":
      return arm_draw.draw(key_arm, key_slot, state.passes, pool, state.alpha)
    num_arms = state.alpha.shape[0]
    uniform = jnp.full(num_arms, 1 / num_arms, jnp.float32)
    draw = arm_draw.draw(key_arm, key_slot, state.passes, pool, uniform)
    return draw._replace(weight=num_arms * state.alpha[draw.arm])

  def measure(key: Array, info: StepInfo) -> Array:
    """Returns l - l_ref of each example, [B]."""
    return info.loss - info.pool.scores[reference][info.draw.index]

  def update(
    state: DoReMiState, draw: Draw, feedback: Array | tuple[()]
  ) -> DoReMiState:
    if not isinstance(feedback, tuple):
      state = _learn(state, draw, feedback)
    return state._replace(passes=arm_draw.advance(state.passes, draw))

  return Sampler(
    init,
    sample,
    update,
    Signal(measure),
    spec=SamplerSpec(
      partitions=(partition,), arm_partition=partition, scores=(reference,)
    ),
  )
