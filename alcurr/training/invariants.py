"""Invariants of every step, checked while a run trains.

The step reports violations as the bits of one number: a handful of
comparisons, one pass over the gradients and one over the new parameters. The
host reads the number with the chunk's metrics.
"""

import enum

import jax
import jax.numpy as jnp

from alcurr.data.host_store import place_in
from alcurr.training import parallel
from alcurr.types import Array, Batch, Draw, Fetched, Pool, PyTree, Sampler

# Rounding errors of float32 that are tolerated: of a policy's sum, relative to
# its smallest probability, and of a probability that is a product of powers
# and binomial coefficients.
SUM_TOLERANCE = 1e-4
UNIFORM_TOLERANCE = 1e-4
PROB_TOLERANCE = 1e-3


class Violation(enum.IntFlag):
  """The invariants that a step violates; 0 for none."""

  # NaN or infinite numbers: a trial that diverged.
  LOSS = enum.auto()
  GRADIENT = enum.auto()
  UPDATE = enum.auto()  # the new parameters, even from finite gradients
  POLICY = enum.auto()
  # A bug, whatever the numbers.
  SUM = enum.auto()
  UNIFORM = enum.auto()
  INDEX = enum.auto()
  ARM = enum.auto()
  LABEL = enum.auto()
  FETCHED = enum.auto()
  PROB = enum.auto()


NOT_FINITE = Violation.LOSS | Violation.GRADIENT | Violation.UPDATE
NOT_FINITE |= Violation.POLICY
# Not undone by skipping an update: it is in the sampler's own state.
UNRECOVERABLE = Violation.POLICY
_SENTENCES = {
  Violation.SUM: "a policy sums to 1",
  Violation.UNIFORM: "every arm has its uniform share of the probability",
  Violation.INDEX: "the examples drawn are of the pool",
  Violation.ARM: "an example's arm is the one it has in the pool",
  Violation.LABEL: "an example's label is the one it has in the pool",
  Violation.FETCHED: "the examples drawn are those that were prefetched",
  Violation.PROB: "a draw's probability is above 0 and at most 1",
}


def _bits(broken: dict[Violation, Array]) -> Array:
  """Returns the bits whose conditions [] bool hold, [] int32."""
  return sum(
    jnp.where(holds, jnp.int32(bit.value), 0) for bit, holds in broken.items()
  )


def _all_finite(tree: PyTree) -> Array:
  """Returns whether all floats of a tree are finite: [] bool."""
  finite = [
    jnp.isfinite(_summed(leaf)).all()
    for leaf in jax.tree.leaves(tree)
    if jnp.issubdtype(leaf.dtype, jnp.inexact)
  ]
  return jnp.stack(finite).all() if finite else jnp.bool_(True)


def _summed(leaf: Array) -> Array:
  """Returns numbers that are finite if and only if all of a leaf are."""
  if leaf.ndim < 2 or jax.default_backend() != "cpu":
    return leaf
  # A product is spread over the cores: XLA reads the array four times as fast
  # as for a reduction to one number.
  # Small enough that no sum of finite numbers overflows; inf - inf is NaN.
  return leaf @ jnp.full(leaf.shape[-1], 1e-20, leaf.dtype)


def check_numbers(loss: Array, grads: PyTree, new_params: PyTree) -> Array:
  """Returns the bits of a step's numbers that are not finite, [] int32.

  The loss is the mean, []. Samplers ignore gains that are not finite.
  """
  broken = {
    Violation.LOSS: ~jnp.isfinite(loss),
    Violation.GRADIENT: ~_all_finite(grads),
    Violation.UPDATE: ~_all_finite(new_params),
  }
  return _bits(broken)


def check_draw(
  sampler: Sampler, state: PyTree, pool: Pool, draw: Draw, batch: Batch
) -> Array:
  """Returns the bits of a draw's violations, [] int32.

  The state is the sampler's before the draw. If the policy is not finite,
  nothing else is reported, since a draw from it is meaningless.
  """
  num_examples = pool.label.shape[0]
  label = pool.label[draw.index] if draw.label is None else draw.label
  # False for NaN.
  is_probability = (draw.prob > 0) & (draw.prob <= 1 + PROB_TOLERANCE)
  broken = {
    Violation.INDEX: ((draw.index < 0) | (draw.index >= num_examples)).any(),
    Violation.LABEL: (batch.label != label).any(),
    Violation.PROB: ~is_probability.all(),
  }
  if isinstance(pool.source, Fetched):
    was_fetched = parallel.split_gather(_was_fetched)(pool, draw.index)
    broken[Violation.FETCHED] = ~was_fetched.all()
  if sampler.spec.arm_partition is not None:
    partition = pool.partitions[sampler.spec.arm_partition]
    broken[Violation.ARM] = (draw.arm != partition.arm[draw.index]).any()
  if draw.policy is None:
    return _bits(broken)
  broken[Violation.SUM] = jnp.abs(draw.policy.sum() - 1) > SUM_TOLERANCE
  if sampler.uniform_fraction is not None:
    least = sampler.uniform_fraction(state) / draw.policy.shape[0]
    least *= 1 - UNIFORM_TOLERANCE
    broken[Violation.UNIFORM] = draw.policy.min() < least
  finite = jnp.isfinite(draw.policy).all()
  return jnp.where(finite, _bits(broken), jnp.int32(Violation.POLICY.value))


def _was_fetched(pool: Pool, index: Array) -> Array:
  """Returns which of the examples `index` were prefetched: [B] bool."""
  return pool.source.index[place_in(pool.source, index)] == index


def describe_nonfinite(bits: int) -> str:
  """Returns the names of the numbers not finite, as "loss, gradient"."""
  broken = Violation(int(bits)) & NOT_FINITE
  return ", ".join(bit.name.lower() for bit in broken)


def describe_violation(bits: int) -> str:
  """Returns the invariants violated, separated by semicolons; "" for none."""
  return "; ".join(law for bit, law in _SENTENCES.items() if bit & bits)
