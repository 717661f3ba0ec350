"""JAX's rules of promotion for code that relies on them."""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def standard_promotion() -> Iterator[None]:
  """Allows implicit promotion, whatever JAX_NUMPY_*_PROMOTION says.

  Optimizers and schedules of optax fail under stricter rules, and geometry in
  mixed ranks and types reads worse with every cast written out.
  """
  rank = jax.numpy_rank_promotion("allow")
  with jax.numpy_dtype_promotion("standard"), rank:
    yield
