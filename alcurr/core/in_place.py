"""Arrays [N] that a step writes a few places of, without copying them."""

import functools
import operator

import jax.numpy as jnp

from alcurr.types import Array


def after_reads(index: Array, *read: Array) -> Array:
  """Returns places to write at, which depend on what was read before.

  XLA writes an array of a loop in place, unless it may be read after it is
  written: then it copies all of it, at each step. A place that depends on what
  was read leaves it no choice.

  Args:
    index: [B] int32.
    *read: [B], numbers that are finite. Where one is not, the place is 0.
  """
  finite = (jnp.isfinite(x.astype(jnp.float32)) for x in read)
  return jnp.where(functools.reduce(operator.and_, finite), index, 0)
