"""Uniform passes that score every example on the way.

They draw as `uniform` does, and remember of each example what its running
scores ask for, see `alcurr.samplers.running_scores`: how often it was forgotten
(Toneva et al. 2019, "An Empirical Study of Example Forgetting during Deep
Neural Network Learning"), and the area under its margin (Pleiss et al. 2020,
"Identifying Mislabeled Data using the Area Under the Margin Ranking"). At the
end of a run these are difficulties of the pool, without a pass over it to
score it: `sampler.running_scores(state)` returns them from a sampler's state.

Cost: no further FLOPs of the network. A step adds O(B log B) index arithmetic,
and the state is of [N] for each score. Examples cannot be prefetched, as for
any sampler with feedback.
"""

from typing import NamedTuple

import jax.numpy as jnp

from alcurr.core.arguments import check_choice
from alcurr.core.counters import count_up
from alcurr.samplers._uniform import uniform
from alcurr.samplers.running_scores import RUNNING_SCORES, collect_visits
from alcurr.samplers.scores import logit_margin
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


class ScoredPassesState(NamedTuple):
  passes: PyTree  # of `uniform`
  visits: Array  # [N] int32, of each example; 0 for never
  memory: dict[str, PyTree]  # by score
  ignored: Array  # [] int32, margins that were not finite


_ROW = 4096


def _mean_of_some(value: Array, chosen: Array) -> Array:
  """Returns the mean of the chosen values [N], 0 of none: [] float32."""
  number = jnp.maximum(chosen.sum(dtype=jnp.int32), 1).astype(jnp.float32)
  # Divided first: the sum may be infinite. By rows: a float32 stops adding
  # small terms near 2^24 of them.
  part = jnp.where(chosen, value, 0) / number
  part = jnp.pad(part, (0, -part.shape[0] % _ROW))
  return part.reshape(-1, _ROW).sum(1).sum()


def scored_passes(
  *, batch_size: int, scores: str = "aum,forgetting"
) -> Sampler:
  """Draws by uniform passes and keeps running scores of every example.

  Args:
    batch_size: B, at least 1.
    scores: names of `RUNNING_SCORES`, with commas between them.

  Returns:
    A sampler with `running_scores`; its `init` raises ValueError for labels
    that are not classes. An example that was not visited yet has the mean
    score of those that were; `state.visits` says which.
  """
  passes = uniform(batch_size=batch_size)
  names = [name.strip() for name in scores.split(",")]
  for name in names:
    check_choice(RUNNING_SCORES, scores=name)
  running = {name: RUNNING_SCORES[name]() for name in names}

  def init(key: Array, pool: Pool) -> ScoredPassesState:
    num_examples, dtype = pool.label.shape[0], pool.label.dtype
    if pool.label.ndim != 1 or not jnp.issubdtype(dtype, jnp.integer):
      text = f"running scores need classes as labels, got {dtype}"
      raise ValueError(f"{text} of shape {pool.label.shape}")
    return ScoredPassesState(
      passes=passes.init(key, pool),
      visits=jnp.zeros(num_examples, jnp.int32),
      memory={
        name: score.init(num_examples) for name, score in running.items()
      },
      ignored=jnp.int32(0),
    )

  def sample(key: Array, state: ScoredPassesState, pool: Pool) -> Draw:
    return passes.sample(key, state.passes, pool)

  def measure(key: Array, info: StepInfo) -> Array:
    return logit_margin(info.logits, info.batch.label)

  def update(
    state: ScoredPassesState, draw: Draw, feedback: Array | tuple[()]
  ) -> ScoredPassesState:
    if not isinstance(feedback, tuple):
      visits = collect_visits(state.visits, draw.index, feedback)
      num_ignored = (~jnp.isfinite(feedback)).sum(dtype=jnp.int32)
      state = state._replace(
        visits=state.visits.at[visits.index].set(visits.count, mode="drop"),
        memory={
          name: score.update(state.memory[name], visits)
          for name, score in running.items()
        },
        ignored=count_up(state.ignored, num_ignored),
      )
    return state._replace(passes=passes.update(state.passes, draw, ()))

  def running_scores(state: ScoredPassesState) -> dict[str, Array]:
    visited = state.visits > 0
    result = {}
    for name, score in running.items():
      value = score.value(state.memory[name])
      mean = _mean_of_some(value, visited)
      result[name] = jnp.where(visited, value, mean)
    return result

  return Sampler(
    init,
    sample,
    update,
    Signal(measure),
    running_scores=running_scores,
    spec=SamplerSpec(per_example_state=True),
  )
