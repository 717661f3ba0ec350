"""A fixed mixture of groups, such as sources, domains or languages.

Every example first draws a group, and then an example of it:

  p(k) = w_k^q / Σ w^q        w_k: the weight of group k, or its size

With sizes for weights and q = 1 / T, T is the temperature of multilingual
training (Arivazhagan et al. 2019, "Massively Multilingual Neural Machine
Translation in the Wild"): T = 1 draws the groups in their natural shares, and
T = ∞ all alike. With weights that another run has found, it is the second
stage of DoReMi.

Ours: groups without examples are never drawn, and by default the examples of a
group come in shuffled passes. Cost: O(B) index arithmetic a step, no feedback.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_fraction
from alcurr.core.mixtures import Weights, check_weights, to_shares
from alcurr.samplers._arm_draw import check_partition, make_arm_draw
from alcurr.types import Array, Draw, Pool, PyTree, Sampler, SamplerSpec


class MixtureState(NamedTuple):
  policy: Array  # [K] float32
  passes: PyTree  # over the groups, see `_arm_draw`


def mixture(
  *,
  batch_size: int,
  weights: Weights = None,
  power: float = 1.0,
  partition: str = "groups",
  replacement: bool = False,
) -> Sampler:
  """Draws groups in proportion to a power of their weights.

  Args:
    batch_size: B; a group is drawn for every example.
    weights: a weight at least 0 for each group: by name, where the others have
      none, or in their order. None: their numbers of examples.
    power: q, in [0, 1]; 0 for all groups with a weight alike.
    partition: the name in `pool.partitions` of the arms to mix.
    replacement: within a group, draw with replacement; else by shuffled passes
      over each group.
  """
  check_fraction(power=power)
  check_weights(weights=weights)
  arm_draw = make_arm_draw(
    batch_size=batch_size,
    partition=partition,
    replacement=replacement,
    allow_empty=True,
  )

  def init(key: Array, pool: Pool) -> MixtureState:
    check_partition(pool, partition)
    share = to_shares(weights, pool.partitions[partition], "weights")
    weight = jnp.where(share > 0, (share / share.max()) ** power, 0)
    passes = arm_draw.start(key, pool)
    return MixtureState((weight / weight.sum()).astype(jnp.float32), passes)

  def sample(key: Array, state: MixtureState, pool: Pool) -> Draw:
    key_arm, key_slot = jax.random.split(key)
    return arm_draw.draw(key_arm, key_slot, state.passes, pool, state.policy)

  def update(state: MixtureState, draw: Draw, feedback: PyTree) -> MixtureState:
    return state._replace(passes=arm_draw.advance(state.passes, draw))

  spec = SamplerSpec(partitions=(partition,), arm_partition=partition)
  return Sampler(init, sample, update, spec=spec)
