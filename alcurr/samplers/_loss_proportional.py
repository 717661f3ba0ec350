"""Draws examples in proportion to a power of their last loss.

The rule of prioritised experience replay (Schaul, Quan, Antonoglou and Silver,
2016, "Prioritized Experience Replay", proportional variant) and of importance
sampling by remembered losses (Katharopoulos and Fleuret, 2017, "Biased
importance sampling for deep neural network training"). With the last loss l_i
of each of the n examples seen so far, of N:

  P(i) = (n / N) ((1 - u) l_i^a / Σ l^a + u / n)     seen
  P(i) = 1 / N                                       never seen
  weight = (1 / (N P(i)))^b                          b = 1: unbiased

That is unseen="mean": an example never seen counts as the mean of the seen.
With unseen="first", those never seen are all drawn first, by a shuffled pass.
Either way they come in the order of that pass, without replacement.

Ours, not the papers': u, a share that is uniform over the seen, without which
an example of loss 0 never returns; and an example that was drawn but had no
finite loss counts as the mean of the seen. Losses are those of the last visit,
before its update; none is recomputed.

Cost: O(B log N) a step for the draw and the update of a sum tree, and no
forward pass. State: 5.3 bytes an example.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import binom

from alcurr.core.arguments import (
  check_at_least,
  check_choice,
  check_fraction,
)
from alcurr.core.counters import count_up
from alcurr.samplers import _sum_tree, bijection
from alcurr.samplers._loss_memory import LOSS_SIGNAL, check_batch
from alcurr.types import Array, Draw, Pool, Sampler, SamplerSpec

UNSEEN = ("first", "mean")


class LossProportionalState(NamedTuple):
  tree: _sum_tree.SumTree  # of l_i^a; 0 for examples never drawn
  drawn: Array  # [N] bool, whether it was drawn, with a finite loss or not
  num_drawn: Array  # [] int32, n
  key: Array  # [] PRNG key, of the first pass
  ignored: Array  # [] int32, losses that were not finite


def _first_pass(state: LossProportionalState, place: Array) -> Array:
  """Returns the examples at places [B] of the first pass, mod N."""
  num_examples = state.drawn.shape[0]
  # Subtracted first: place + B may pass 2^31 in a pool near that size.
  place = jnp.where(place < 0, place + num_examples, place)
  return bijection.permute(state.key, jnp.int32(0), place, num_examples)


def _draw_seen(
  key: Array, state: LossProportionalState, size: int, uniform_fraction: float
) -> tuple[Array, Array]:
  """Draws from the examples seen: index [B] and probability [B]."""
  key_uniform, key_place, key_tree = jax.random.split(key, 3)
  # They are the first `num_drawn` of the first pass.
  num_drawn = jnp.maximum(state.num_drawn, 1)
  place = jax.random.randint(key_place, (size,), 0, num_drawn, jnp.int32)
  # Without any weight they are alike.
  total = _sum_tree.total(state.tree)
  uniform = jnp.where(total > 0, jnp.float32(uniform_fraction), 1)
  index = jnp.where(
    jax.random.bernoulli(key_uniform, uniform, (size,)),
    _first_pass(state, place),
    _sum_tree.draw(key_tree, state.tree, state.drawn.shape[0], size)[0],
  )
  by_loss = _sum_tree.get(state.tree, index) / jnp.where(total > 0, total, 1)
  by_place = 1 / num_drawn.astype(jnp.float32)
  return index, (1 - uniform) * by_loss + uniform * by_place


def _learn(
  state: LossProportionalState,
  index: Array,
  feedback: Array | tuple[()],
  power: float,
) -> LossProportionalState:
  """Sets the weights of a batch by its losses [B], if they were measured."""
  measured = not isinstance(feedback, tuple)
  loss = feedback if measured else jnp.full(index.shape, jnp.nan, jnp.float32)
  finite = jnp.isfinite(loss)
  weight = jnp.maximum(jnp.where(finite, loss, 0).astype(jnp.float32), 0)
  # Without a loss, an example that was drawn before keeps its weight.
  new = ~state.drawn[index]
  num_drawn = state.num_drawn.astype(jnp.float32)
  mean = _sum_tree.total(state.tree) / jnp.maximum(num_drawn, 1)
  mean = jnp.where(num_drawn > 0, mean, 1)
  place = _sum_tree.last_writes(index, finite | new)
  num_new = (new & (place != _sum_tree.NOWHERE)).sum(dtype=jnp.int32)
  num_ignored = (~finite).sum(dtype=jnp.int32) if measured else 0
  return state._replace(
    tree=_sum_tree.put(
      state.tree, place, jnp.where(finite, weight**power, mean)
    ),
    drawn=state.drawn.at[place].set(True, mode="drop"),
    num_drawn=state.num_drawn + num_new,
    ignored=count_up(state.ignored, num_ignored),
  )


def loss_proportional(
  *,
  batch_size: int,
  power: float = 1.0,
  uniform_fraction: float = 0.1,
  correction: float = 0.0,
  unseen: str = "first",
) -> Sampler:
  """Draws with replacement by remembered losses.

  Args:
    batch_size: B, at least 1.
    power: a, at least 0; with 0 all examples seen are alike.
    uniform_fraction: u in [0, 1], the share of draws that are uniform over the
      examples seen.
    correction: b in [0, 1], how far loss weights undo the bias. Above 0 it
      needs a `uniform_fraction` above 0, which bounds the weights.
    unseen: "first", all examples are drawn once before any returns; or "mean",
      an example never seen counts as the mean of the seen.

  Returns:
    A sampler whose `init` raises ValueError for a batch larger than the pool.
  """
  check_at_least(1, batch_size=batch_size)
  check_at_least(0, power=power)
  check_fraction(uniform_fraction=uniform_fraction, correction=correction)
  check_choice(UNSEEN, unseen=unseen)
  if correction > 0 and uniform_fraction == 0:
    raise ValueError(
      f"correction {correction} needs a uniform_fraction above 0, got 0"
    )

  def init(key: Array, pool: Pool) -> LossProportionalState:
    check_batch(batch_size, pool)
    num_examples = pool.label.shape[0]
    return LossProportionalState(
      tree=_sum_tree.build(jnp.zeros(num_examples, jnp.float32)),
      drawn=jnp.zeros(num_examples, bool),
      num_drawn=jnp.int32(0),
      key=key,
      ignored=jnp.int32(0),
    )

  def sample(key: Array, state: LossProportionalState, pool: Pool) -> Draw:
    key_new, key_seen = jax.random.split(key)
    num_examples = pool.label.shape[0]
    # The probability that a slot draws an example never drawn.
    share = (num_examples - state.num_drawn).astype(jnp.float32) / num_examples
    if unseen == "first":
      share = jnp.where(share > 0, jnp.float32(1), 0)
    is_new = jax.random.bernoulli(key_new, share, (batch_size,))
    before = jnp.cumsum(is_new, dtype=jnp.int32) - is_new.astype(jnp.int32)
    new = _first_pass(state, state.num_drawn - num_examples + before)
    seen, seen_prob = _draw_seen(key_seen, state, batch_size, uniform_fraction)
    seen_prob *= 1 - share
    # The slot draws the next of the pass if exactly `before` others did.
    number = jnp.arange(batch_size, dtype=jnp.float32)
    new_prob = share * binom.pmf(before.astype(jnp.float32), number, share)
    ratio = jnp.where(is_new | (seen_prob == 0), 1, seen_prob * num_examples)
    return Draw(
      index=jnp.where(is_new, new, seen),
      prob=jnp.where(is_new, new_prob, seen_prob),
      weight=ratio**-correction,
    )

  def update(
    state: LossProportionalState, draw: Draw, feedback: Array | tuple[()]
  ) -> LossProportionalState:
    return _learn(state, draw.index, feedback, power)

  return Sampler(
    init,
    sample,
    update,
    LOSS_SIGNAL,
    spec=SamplerSpec(per_example_state=True),
  )
