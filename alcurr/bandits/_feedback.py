"""Feedback: to which arms a gain is credited, and per unit of time."""

import jax
import jax.numpy as jnp

from alcurr.types import Array, Feedback, PyTree, StepInfo


def credit_all(info: StepInfo, gain: Array) -> Feedback:
  """Credits one number to every arm of the batch.

  It tells arms apart only as far as batches are drawn from few of them.
  """
  arm = info.draw.arm
  return Feedback(jnp.full(arm.shape, gain, jnp.float32), arm)


def inner_product(left: PyTree, right: PyTree) -> Array:
  """Returns the sum over all products of two trees of the same shapes, []."""
  products = jax.tree.map(jnp.vdot, left, right)
  return sum(jax.tree.leaves(products))


def per_time(
  feedback: Feedback, info: StepInfo, score: str, num_arms: int
) -> Feedback:
  """Divides gains by the time that the examples of their arm took.

  Graves et al. 2017, section 3.2: r̂ = ν / τ(x). τ of an arm is the mean score
  of its examples in the batch. If it is not positive, its gains become
  infinite, and are ignored as such.
  """
  time = info.pool.scores[score][info.draw.index].astype(jnp.float32)
  total = jax.ops.segment_sum(time, info.draw.arm, num_arms)
  count = jax.ops.segment_sum(jnp.ones_like(time), info.draw.arm, num_arms)
  tau = (total / jnp.maximum(count, 1))[feedback.arm]
  gain = feedback.gain / jnp.where(tau > 0, tau, 1)
  return feedback._replace(gain=jnp.where(tau > 0, gain, jnp.inf))
