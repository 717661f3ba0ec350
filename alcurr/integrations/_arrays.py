"""Conversion of what a loop hands to a stream to NumPy arrays."""

import contextlib
import operator
from typing import Any

import jax
import numpy as np

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.training.keys import seed_key
from alcurr.types import Array, PyTree


def to_numpy(tree: PyTree) -> PyTree:
  """Replaces the tensors of a tree, of any device and dtype."""
  return jax.tree.map(_to_numpy, tree)


def _to_numpy(leaf: Any) -> Any:
  if not hasattr(leaf, "detach"):
    return leaf
  leaf = leaf.detach().cpu()
  # NumPy has no bfloat16.
  return (leaf.float() if leaf.is_floating_point() else leaf).numpy()


def read_floats(
  values: Any, shape: tuple[int, ...] | None, name: str
) -> np.ndarray:
  """Returns finite numbers as float32, of that shape if one is given."""
  try:
    array = np.asarray(to_numpy(values))
    if array.dtype.kind in "cmMSU" or np.ma.is_masked(values):
      raise TypeError(array.dtype)
    with np.errstate(over="ignore"):
      array = array.astype(np.float32)
  except (TypeError, ValueError) as error:
    text = "expected real numbers, all of them given"
    raise UserError("type", name, text) from error
  if shape is not None and array.shape != shape:
    text = f"expected a number for each of {list(shape)}, got shape "
    raise UserError("type", name, text + str(list(array.shape)))
  if not np.isfinite(array).all():
    raise UserError("range", name, "expected finite numbers")
  return array


def read_key(key: Array | int) -> Array:
  """Returns the key of a seed, or the key itself."""
  dtype = getattr(key, "dtype", None)
  if dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
    if key.ndim == 0:
      return key
  elif not isinstance(key, bool):
    with contextlib.suppress(TypeError):
      return seed_key(operator.index(key))
  text = "expected an integer or one key of jax.random, got "
  raise UserError("type", "key", text + specs.quoted(repr(key)))
