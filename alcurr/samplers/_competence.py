"""The competence-based curriculum: uniform draws from the easiest examples.

Platanios et al. (2019, "Competence-based Curriculum Learning for Neural Machine
Translation"): step t draws uniformly from the easiest c(t) N examples, with the
competence

  c(t) = min(1, (t (1 - c0^p) / T + c0^p)^(1/p))

which grows from c0 to 1 in T steps: linearly for p = 1, and by default as a
square root, p = 2, so that new examples come ever more slowly as their share of
the draws shrinks. Any score of the pool may say what is easy; the paper's are
the length of a sentence and the rarity of its words. It chooses T as the steps
in which uniform training comes to 90 % of its final quality.

Ours: n(t) = ceil(c(t) N) examples, so that of equal scores some may be in and
others not yet, in a random order; the paper takes all with a rank of at most
c(t). Slots are drawn with replacement. State: [N], the order. Cost: a sort in
`init`, and O(B) a step; no feedback.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_at_least, check_positive_fraction
from alcurr.core.counters import count_up
from alcurr.samplers._order import order_by_score
from alcurr.types import Array, Draw, Pool, PyTree, Sampler, SamplerSpec


class CompetenceState(NamedTuple):
  step: Array  # [] int32, updates so far
  order: Array  # [N] int32, easiest first


def competence(
  *,
  batch_size: int,
  num_steps: int,
  score: str = "difficulty",
  start: float = 0.01,
  full_at: float = 0.5,
  root: float = 2.0,
) -> Sampler:
  """Draws uniformly from a growing part of the pool, easiest first.

  Args:
    batch_size: B, at least 1.
    num_steps: of the run.
    score: the name in `pool.scores` of what is easy, ascending.
    start: c0, the share of the pool at the first step, in (0, 1].
    full_at: T / num_steps, the share of the run at which the whole pool is
      included, in (0, 1].
    root: p, at least 1; 1 is linear.
  """
  check_at_least(1, batch_size=batch_size, num_steps=num_steps, root=root)
  check_positive_fraction(start=start, full_at=full_at)
  duration, first = full_at * num_steps, start**root

  def num_included(step: Array, num_examples: int) -> Array:
    """Returns n(t): [] int32 in [1, N]."""
    grown = step.astype(jnp.float32) / duration * (1 - first)
    share = (grown + first) ** (1 / root)
    # A count may be rounded to 24 bits, if it cannot be more than N.
    part = jnp.ceil(jnp.minimum(share, 1 - 2**-24) * num_examples)
    whole = (share >= 1) | (part >= num_examples)
    return jnp.where(whole, num_examples, part.astype(jnp.int32))

  def init(key: Array, pool: Pool) -> CompetenceState:
    return CompetenceState(jnp.int32(0), order_by_score(key, pool, score))

  def sample(key: Array, state: CompetenceState, pool: Pool) -> Draw:
    size = num_included(state.step, pool.label.shape[0])
    place = jax.random.randint(key, (batch_size,), 0, size, jnp.int32)
    ones = jnp.ones(batch_size, jnp.float32)
    return Draw(state.order[place], ones / size.astype(jnp.float32), ones)

  def update(
    state: CompetenceState, draw: Draw, feedback: PyTree
  ) -> CompetenceState:
    return state._replace(step=count_up(state.step))

  spec = SamplerSpec(scores=(score,), per_example_state=True)
  return Sampler(init, sample, update, spec=spec)
