"""What must hold at every step, looked at while a run goes on.

The step says in the bits of one number what does not: a handful of
comparisons, one pass over the gradients and one over the new parameters. The
host reads the number with the chunk's metrics.
"""

import enum

import jax
import jax.numpy as jnp

from alcurr.data.fetch import place_in
from alcurr.types import Array, Batch, Draw, Fetched, Pool, PyTree, Sampler

# How far float32 may be off: a policy's sum, relatively to its floor, and a
# probability that is a product of powers and binomial coefficients.
SUM_TOLERANCE = 1e-4
FLOOR_TOLERANCE = 1e-4
PROB_TOLERANCE = 1e-3


class Wrong(enum.IntFlag):
  """What is wrong with a step; 0 where nothing is."""

  # Numbers that are NaN or infinite: a trial that diverged.
  LOSS = enum.auto()
  GRADIENT = enum.auto()
  UPDATE = enum.auto()  # the parameters after it, from finite gradients too
  GAIN = enum.auto()
  POLICY = enum.auto()
  # Laws that no numbers excuse: a bug.
  SUM = enum.auto()
  FLOOR = enum.auto()
  INDEX = enum.auto()
  ARM = enum.auto()
  LABEL = enum.auto()
  FETCHED = enum.auto()
  PROB = enum.auto()


NOT_FINITE = Wrong.LOSS | Wrong.GRADIENT | Wrong.UPDATE | Wrong.GAIN
NOT_FINITE |= Wrong.POLICY
# What skipping an update cannot mend: the sampler's own state.
BEYOND_REPAIR = Wrong.POLICY
_LAWS = {
  Wrong.SUM: "a policy sums to 1",
  Wrong.FLOOR: "no arm's probability is below the policy's floor",
  Wrong.INDEX: "the examples drawn are of the pool",
  Wrong.ARM: "an example's arm is the one it has in the pool",
  Wrong.LABEL: "an example's label is the one it has in the pool",
  Wrong.FETCHED: "the examples drawn are those that were fetched ahead",
  Wrong.PROB: "a draw's probability is above 0 and at most 1",
}


def _bits(broken: dict[Wrong, Array]) -> Array:
  """[] int32 of conditions [] bool."""
  return sum(
    jnp.where(holds, jnp.int32(bit.value), 0) for bit, holds in broken.items()
  )


def _all_finite(tree: PyTree) -> Array:
  """Whether every number of a tree's floats is finite: [] bool."""
  finite = [
    jnp.isfinite(_rows(leaf)).all()
    for leaf in jax.tree.leaves(tree)
    if jnp.issubdtype(leaf.dtype, jnp.inexact)
  ]
  return jnp.stack(finite).all() if finite else jnp.bool_(True)


def _rows(leaf: Array) -> Array:
  """Numbers that are all finite if and only if those of a leaf are.

  On a CPU XLA reads an array four times as fast for a product, which is spread
  over the cores, as to reduce it to one number.
  """
  if leaf.ndim < 2 or jax.default_backend() != "cpu":
    return leaf
  # So small that no sum of finite numbers is infinite; inf - inf is NaN.
  return leaf @ jnp.full(leaf.shape[-1], 1e-20, leaf.dtype)


def numbers_wrong(
  loss: Array, grads: PyTree, new_params: PyTree, gain: Array | None
) -> Array:
  """The bits of a step's numbers that are not finite, [] int32.

  Args:
    loss: [] of the batch.
    grads: of the loss.
    new_params: after the update.
    gain: [] the mean feedback, None where none was measured.
  """
  broken = {
    Wrong.LOSS: ~jnp.isfinite(loss),
    Wrong.GRADIENT: ~_all_finite(grads),
    Wrong.UPDATE: ~_all_finite(new_params),
  }
  if gain is not None:
    broken[Wrong.GAIN] = ~jnp.isfinite(gain)
  return _bits(broken)


def draw_wrong(
  sampler: Sampler, state: PyTree, pool: Pool, draw: Draw, batch: Batch
) -> Array:
  """The bits of a draw that breaks a law, [] int32.

  Where the policy is not finite nothing else is said of the draw: what was
  drawn from it is no one's mistake.

  Args:
    sampler: which drew.
    state: the sampler's, from which it drew.
    pool: likewise.
    draw: of B examples.
    batch: what was gathered for it.
  """
  num_examples, num_arms = pool.label.shape[0], draw.policy.shape[0]
  least = sampler.floor(state) / num_arms
  agrees = (draw.arm >= 0) & (draw.arm < num_arms)
  for name in sampler.needs:
    agrees &= draw.arm == pool.arms[name].arm[draw.index]
  fetched = jnp.bool_(True)
  if isinstance(pool.source, Fetched):
    place = place_in(pool.source, draw.index)
    fetched = (pool.source.index[place] == draw.index).all()
  laws = _bits(
    {
      Wrong.SUM: jnp.abs(draw.policy.sum() - 1) > SUM_TOLERANCE,
      Wrong.FLOOR: draw.policy.min() < least * (1 - FLOOR_TOLERANCE),
      Wrong.INDEX: ((draw.index < 0) | (draw.index >= num_examples)).any(),
      Wrong.ARM: ~agrees.all(),
      Wrong.LABEL: (batch.label != pool.label[draw.index]).any(),
      Wrong.FETCHED: ~fetched,
      # Written so that what is not a number breaks it.
      Wrong.PROB: ~((draw.prob > 0) & (draw.prob <= 1 + PROB_TOLERANCE)).all(),
    }
  )
  finite = jnp.isfinite(draw.policy).all()
  return jnp.where(finite, laws, jnp.int32(Wrong.POLICY.value))


def in_words(bits: int) -> str:
  """What is not finite, as "loss, gradient"."""
  return ", ".join(bit.name.lower() for bit in Wrong(int(bits)) & NOT_FINITE)


def broken_law(bits: int) -> str:
  """The laws that are broken, as sentences without a stop; "" for none."""
  return "; ".join(law for bit, law in _LAWS.items() if bit & bits)
