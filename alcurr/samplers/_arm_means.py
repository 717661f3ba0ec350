"""Means by arm of numbers that a batch has measured of each example."""

import jax
import jax.numpy as jnp

from alcurr.types import Array


def arm_means(
  values: Array, arm: Array, num_arms: int
) -> tuple[Array, Array, Array]:
  """Returns the mean of each arm's finite values, and how many they are.

  Args:
    values: [B].
    arm: [B] int32.
    num_arms: K.

  Returns:
    The means [K] float32, 0 of no value; the counts [K] float32; and the number
    of values that were ignored, [] int32.
  """
  values = values.astype(jnp.float32)
  finite = jnp.isfinite(values)
  count = jax.ops.segment_sum(finite.astype(jnp.float32), arm, num_arms)
  total = jax.ops.segment_sum(jnp.where(finite, values, 0), arm, num_arms)
  # Finite values may have a sum that is not.
  count = jnp.where(jnp.isfinite(total), count, 0)
  mean = jnp.where(count > 0, total, 0) / jnp.maximum(count, 1)
  return mean, count, finite.size - count.sum().astype(jnp.int32)
