"""Scores of difficulty that a run collects on its way, for no further pass.

Each sees an example's margin at its visits, which is that of the training
forward pass, before the update:

  margin = z_y - max_{j != y} z_j        of the logits z and the label y

An example is visited by a step that trains on it, once even if the batch holds
it twice. A score is a factory of a `RunningScore`, pure functions over a state
of [N]; `scored_passes` is the sampler that collects them.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.in_place import after_reads
from alcurr.core.registry import Registry
from alcurr.types import Array, PyTree


class Visits(NamedTuple):
  """The visits of a step: distinct examples, in slots that may be empty."""

  index: Array  # [B] int32; N where a slot is empty, so that it is dropped
  margin: Array  # [B] float32, finite
  count: Array  # [B] int32, the example's visits, this one included


class RunningScore(NamedTuple):
  """Remembers something of each example, and scores it by that."""

  init: Callable[[int], PyTree]  # (num_examples) -> state
  # (state, visits) -> state
  update: Callable[[PyTree, Visits], PyTree]
  # (state) -> [N] float32, larger is harder; of those visited, no others
  value: Callable[[PyTree], Array]


def collect_visits(visits: Array, index: Array, margin: Array) -> Visits:
  """Returns the visits of a batch whose indices may repeat.

  An example's margin is the mean of its finite ones. Without any it is not
  visited.

  Args:
    visits: [N] int32, of each example so far.
    index: [B] int32, into the pool.
    margin: [B] float32.
  """
  num_examples, batch_size = visits.shape[0], index.shape[0]
  distinct, slot = jnp.unique(
    index, size=batch_size, fill_value=num_examples, return_inverse=True
  )
  finite = jnp.isfinite(margin)
  number = jax.ops.segment_sum(finite.astype(jnp.float32), slot, batch_size)
  # Divided before they are summed: a sum of finite numbers may be infinite.
  part = jnp.where(finite, margin, 0) / jnp.maximum(number, 1)[slot]
  return Visits(
    index=jnp.where(number > 0, distinct, num_examples),
    margin=jax.ops.segment_sum(part, slot, batch_size),
    count=visits.at[distinct].get(mode="fill", fill_value=0) + 1,
  )


def aum() -> RunningScore:
  """Scores examples by minus the area under the margin.

  Pleiss et al. (2020, "Identifying Mislabeled Data using the Area Under the
  Margin Ranking"): AUM is the mean of an example's margins over its visits,
  from the start of training to the first drop of the learning rate. Mislabelled
  examples have a small one. The paper takes its threshold from examples that
  are relabelled to a class of their own, which is not done here. State: [N].
  """

  def init(num_examples: int) -> Array:
    return jnp.zeros(num_examples, jnp.float32)

  def update(mean: Array, visits: Visits) -> Array:
    count = visits.count.astype(jnp.float32)
    old = mean.at[visits.index].get(mode="fill", fill_value=0)
    new = old - old / count + visits.margin / count
    return mean.at[visits.index].set(new, mode="drop")

  return RunningScore(init, update, lambda mean: -mean)


class ForgettingState(NamedTuple):
  events: Array  # [N] int32, changes from right to wrong
  is_right: Array  # [N] bool, at the last visit
  is_learned: Array  # [N] bool, at any visit so far


def forgetting() -> RunningScore:
  """Scores examples by how often the model forgot them.

  Toneva et al. (2019, "An Empirical Study of Example Forgetting during Deep
  Neural Network Learning"): a forgetting event is a visit at which an example
  is classified wrong, and the visit before was right. Examples never forgotten
  may be left out of training at little cost; the most forgotten are unusual or
  mislabelled. Examples that were never right count as forgotten infinitely
  often: here, once more than any other. The classification is wrong if another
  class has the same logit. State: 6 bytes for each example.
  """

  def init(num_examples: int) -> ForgettingState:
    never = jnp.zeros(num_examples, bool)
    return ForgettingState(
      jnp.zeros(num_examples, jnp.int32), never, jnp.zeros(num_examples, bool)
    )

  def update(state: ForgettingState, visits: Visits) -> ForgettingState:
    index, is_right = visits.index, visits.margin > 0
    was_right = state.is_right.at[index].get(mode="fill", fill_value=False)
    is_forgotten = (was_right & ~is_right).astype(jnp.int32)
    index = after_reads(index, was_right)
    return ForgettingState(
      events=state.events.at[index].add(is_forgotten, mode="drop"),
      is_right=state.is_right.at[index].set(is_right, mode="drop"),
      is_learned=state.is_learned.at[index].max(is_right, mode="drop"),
    )

  def value(state: ForgettingState) -> Array:
    events = jnp.where(state.is_learned, state.events, state.events.max() + 1)
    return events.astype(jnp.float32)

  return RunningScore(init, update, value)


RUNNING_SCORES = Registry(
  "running_scores",
  {"aum": aum, "forgetting": forgetting},
  record=RunningScore,
)
