"""The principal branch of Lambert's W function, also at its branch point."""

import math

import jax.numpy as jnp
import numpy as np

from alcurr.types import Array

_BRANCH = 1 / math.e  # W is real from -1/e on
# As two float32 numbers: near the branch point, one alone has lost the digits
# that W depends on.
_HIGH = float(np.float32(_BRANCH))
_LOW = _BRANCH - _HIGH
# W = -1 + p - p²/3 + 11/72 p³ - ..., with p = sqrt(2 (e z + 1)); Corless et al.
# 1996, "On the Lambert W Function", equation 4.22.
_SERIES = (-221 / 8505, 769 / 17280, -43 / 540, 11 / 72, -1 / 3, 1.0, -1.0)
_SERIES_ENDS = 0.2  # of p, where the terms left out are below 2e-7
_ITERATIONS = 4


def lambert_w(z: Array) -> Array:
  """Returns W with W exp(W) = z, at least -1, elementwise.

  Halley's iteration; within 0.2 of the branch point, in p, the series there.
  Arguments below -1/e are taken as -1/e, where W is -1. It is not meant to be
  differentiated: its derivative is infinite there.
  """
  # Not z + _HIGH + _LOW, whose constants XLA would add up.
  square = 2 * math.e * (z + _HIGH) + 2 * math.e * _LOW
  p = jnp.sqrt(jnp.maximum(square, 0))
  series = jnp.zeros_like(p)
  for coefficient in _SERIES:
    series = series * p + coefficient
  # Winitzki 2003's approximation, good to some per cent for z >= 0.
  log = jnp.log1p(jnp.maximum(z, 0))
  w = log * (1 - jnp.log1p(log) / (2 + log))
  w = jnp.where(z < 0, series, w)
  # Where the iteration is not read, it must still divide by no zero.
  w = jnp.maximum(w, _SERIES_ENDS / 2 - 1)
  for _ in range(_ITERATIONS):
    exp = jnp.exp(w)
    excess = w * exp - z
    w -= excess / (exp * (w + 1) - (w + 2) * excess / (2 * w + 2))
    w = jnp.maximum(w, _SERIES_ENDS / 2 - 1)
  return jnp.where(p < _SERIES_ENDS, series, w)
