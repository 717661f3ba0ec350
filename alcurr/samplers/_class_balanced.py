"""Class-balanced sampling, for pools in which some classes are rare.

Every example first draws a class, and then an example of it:

  p(c) = n_c^q / Σ n^q        n_c: examples of class c

The power q in [0, 1] is that of Kang et al. (2020, "Decoupling Representation
and Classifier for Long-Tailed Recognition"):

  q = 0     all classes alike, "class-balanced"
  q = 0.5   "square-root sampling", as by Mahajan et al. (2018, "Exploring the
            Limits of Weakly Supervised Pretraining")
  q = 1     their natural shares, "instance-balanced"

An example of class c is drawn n_c^(q-1) times as often as under q = 1, up to a
factor. So the smaller q is, the more often the few examples of a rare class are
repeated, and the fewer of a common class are seen in the same budget. Kang et
al. found q = 1 to learn the best features, and q = 0 the best classifier on
them.

Over arms other than classes it balances these: with sources of data, q is the
inverse of the temperature of multilingual training. Ours: classes without an
example are never drawn, and by default the examples of a class come in shuffled
passes. Cost: O(B) index arithmetic a step, no feedback.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_fraction
from alcurr.samplers._arm_draw import make_arm_draw
from alcurr.types import Array, Draw, Pool, PyTree, Sampler, SamplerSpec


class ClassBalancedState(NamedTuple):
  policy: Array  # [K] float32
  passes: PyTree  # over the classes, see `_arm_draw`


def class_balanced(
  *,
  batch_size: int,
  power: float = 0.0,
  partition: str = "label",
  replacement: bool = False,
) -> Sampler:
  """Draws classes in proportion to a power of their numbers of examples.

  Args:
    batch_size: B; a class is drawn for every example.
    power: q, in [0, 1]; 0 for all classes alike, 1 for their natural shares.
    partition: the name in `pool.partitions` of the arms to balance.
    replacement: within a class, draw with replacement; else by shuffled
      passes over each class.
  """
  check_fraction(power=power)
  arm_draw = make_arm_draw(
    batch_size=batch_size,
    partition=partition,
    replacement=replacement,
    allow_empty=True,
  )

  def init(key: Array, pool: Pool) -> ClassBalancedState:
    passes = arm_draw.start(key, pool)
    size = pool.partitions[partition].size
    # Relative to the largest, so that the sum is at most K.
    share = size.astype(jnp.float32) / size.max().astype(jnp.float32)
    weight = jnp.where(size > 0, share**power, 0)
    return ClassBalancedState(weight / weight.sum(), passes)

  def sample(key: Array, state: ClassBalancedState, pool: Pool) -> Draw:
    key_arm, key_slot = jax.random.split(key)
    return arm_draw.draw(key_arm, key_slot, state.passes, pool, state.policy)

  def update(
    state: ClassBalancedState, draw: Draw, feedback: PyTree
  ) -> ClassBalancedState:
    return state._replace(passes=arm_draw.advance(state.passes, draw))

  spec = SamplerSpec(partitions=(partition,), arm_partition=partition)
  return Sampler(init, sample, update, spec=spec)
