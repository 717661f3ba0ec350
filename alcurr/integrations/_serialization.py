"""Converts a stream to named arrays of plain numbers, and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.core.errors import UserError
from alcurr.types import Array, Draw, Feedback, PyTree

# A draw and its feedback; None if it has none yet.
Pending = tuple[Draw, PyTree | None]


def _is_key(leaf: Any) -> bool:
  return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_numpy(leaf: Any) -> np.ndarray:
  return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _named(tree: PyTree, prefix: str) -> dict[str, Any]:
  """Returns a tree's leaves by path, such as sampler.passes.position."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {prefix + jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def to_arrays(
  key: Array, state: PyTree, next_number: int, pending: Sequence[Pending]
) -> dict[str, np.ndarray]:
  """Returns the arrays of a stream, by name.

  The state is the sampler's before the w pending draws, and `next_number` that
  of the draw after them. Their arrays are stacked, [w, ...].
  """
  arrays = {"key": _to_numpy(key), "next_number": np.int64(next_number)}
  arrays |= {k: _to_numpy(x) for k, x in _named(state, "sampler").items()}
  updated = [feedback is not None for _, feedback in pending]
  arrays["pending.updated"] = np.array(updated, bool)
  if pending:
    stacked = jax.tree.map(lambda *x: np.stack(x), *(d for d, _ in pending))
    arrays |= _named(stacked, "pending")
  for i, (_, feedback) in enumerate(pending):
    named = _named(feedback, f"feedback.{i}")
    arrays |= {name: np.asarray(leaf) for name, leaf in named.items()}
  return arrays


def from_arrays(
  arrays: Mapping[str, Any], key: Array, state: PyTree, draw: Draw
) -> tuple[Array, PyTree, int, list[Pending]]:
  """Returns the arguments of `to_arrays`, from its arrays or as many lists.

  Raises UserError if their shapes are not those of the key, state and draw.
  """
  state = jax.tree.unflatten(
    jax.tree.structure(state),
    [_like(arrays, name, x) for name, x in _named(state, "sampler").items()],
  )
  updated = np.asarray(_get(arrays, "pending.updated"), bool)
  pending = []
  for i, has_feedback in enumerate(updated):
    leaves = [
      _cast(_get(arrays, name)[i], name, leaf)
      for name, leaf in _named(draw, "pending").items()
    ]
    feedback = _read_feedback(arrays, f"feedback.{i}") if has_feedback else None
    row = jax.tree.unflatten(jax.tree.structure(draw), leaves)
    pending.append((row, feedback))
  next_number = int(_get(arrays, "next_number"))
  return _like(arrays, "key", key), state, next_number, pending


def _get(arrays: Mapping[str, Any], name: str) -> Any:
  if name not in arrays:
    raise UserError(
      "mismatch",
      "load_state_dict",
      f"the state has no {name!r}; expected that of a stream with the same "
      "sampler, pool and delay",
    )
  return arrays[name]


def _cast(value: Any, name: str, like: Any) -> np.ndarray:
  value = np.asarray(value, like.dtype)
  if value.shape != like.shape:
    raise UserError(
      "mismatch",
      "load_state_dict",
      f"expected {name!r} of shape {list(like.shape)}, got "
      f"{list(value.shape)}; make the stream as the saved one was made",
    )
  return value


def _like(arrays: Mapping[str, Any], name: str, leaf: Any) -> Any:
  value = _get(arrays, name)
  if not _is_key(leaf):
    return _cast(value, name, leaf)
  data = _cast(value, name, jax.eval_shape(jax.random.key_data, leaf))
  return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))


def _read_feedback(arrays: Mapping[str, Any], name: str) -> PyTree:
  """Returns (), an array, or a Feedback."""
  if f"{name}.gain" in arrays:
    gain, arm = (arrays[f"{name}.{field}"] for field in Feedback._fields)
    return Feedback(np.asarray(gain, np.float32), np.asarray(arm, np.int32))
  return np.asarray(arrays[name], np.float32) if name in arrays else ()
