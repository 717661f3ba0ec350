"""A stream's state as named arrays, for files of any kind."""

from collections.abc import Mapping
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr

from alcurr.core.errors import UserError
from alcurr.types import Feedback, PyTree


def name_arrays(trees: Mapping[str, PyTree]) -> dict[str, np.ndarray]:
  """Returns the leaves of trees by name, such as `sampler.passes.position`."""
  return {
    name + keystr(path): np.asarray(
      jax.random.key_data(leaf) if _is_key(leaf) else leaf
    )
    for name, tree in trees.items()
    for path, leaf in jax.tree.leaves_with_path(tree)
  }


def _is_key(leaf: Any) -> bool:
  return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def read_tree(arrays: Mapping[str, Any], prefix: str, like: PyTree) -> PyTree:
  """Returns a tree from the arrays of `name_arrays`, shaped like another."""

  def read_leaf(path: Any, leaf: Any) -> Any:
    name = prefix + keystr(path)
    raw = jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf
    value = arrays.get(name, np.zeros(0, bool))
    with np.errstate(invalid="ignore", over="ignore"):
      cast = value.astype(raw.dtype) if value.dtype.kind in "biuf" else value
    # JSON has lost the dtype; the numbers must be the same.
    same = cast.dtype == raw.dtype and np.array_equal(value, cast, True)
    if value.shape != raw.shape or not same:
      refuse(f"expected {name!r} as {raw.dtype} {list(raw.shape)}")
    value = cast
    if not _is_key(leaf):
      return value
    return jax.random.wrap_key_data(value, impl=jax.random.key_impl(leaf))

  return jax.tree.map_with_path(read_leaf, like)


def read_feedback(
  arrays: Mapping[str, Any], prefix: str, like: PyTree
) -> PyTree:
  """Returns feedback of any sizes, whatever has been saved; () if none."""
  # A loop's own, too, if the sampler's shapes are not known.
  known = like, Feedback(np.zeros(0, np.float32), np.zeros(0, np.int32))
  for tree in (*known, np.zeros(0, np.float32)):
    leaves, treedef = jax.tree.flatten(tree)
    paths = [path for path, _ in jax.tree.leaves_with_path(tree)]
    names = [prefix + keystr(path) for path in paths]
    if names and all(name in arrays for name in names):
      return treedef.unflatten(
        np.asarray(arrays[name], leaf.dtype)
        for name, leaf in zip(names, leaves, strict=True)
      )
  return ()


def refuse(text: str) -> NoReturn:
  remedy = "make the stream with the sampler, pool and delay of the saved one"
  raise UserError("mismatch", "load_state_dict", f"{text}; {remedy}")
