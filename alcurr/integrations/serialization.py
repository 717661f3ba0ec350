"""A stream as named arrays of plain numbers, and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.core.errors import UserError
from alcurr.types import Array, Draw, Feedback, PyTree

# A draw, and its feedback; None where it has none yet.
Waiting = tuple[Draw, PyTree | None]


def _is_key(leaf: Any) -> bool:
  return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> np.ndarray:
  return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _named(tree: PyTree, prefix: str) -> dict[str, Any]:
  """The leaves of a tree by their paths, such as sampler.passes.position."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {prefix + jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def to_arrays(
  key: Array, state: PyTree, next_number: int, waiting: Sequence[Waiting]
) -> dict[str, np.ndarray]:
  """The arrays, by name.

  Args:
    key: of the stream.
    state: of the sampler, before the draws that wait.
    next_number: of the next draw to be made.
    waiting: the w draws before it; their arrays are stacked, [w, ...].
  """
  arrays = {"key": _plain(key), "next_number": np.int64(next_number)}
  arrays |= {k: _plain(x) for k, x in _named(state, "sampler").items()}
  answered = [feedback is not None for _, feedback in waiting]
  arrays["waiting.answered"] = np.array(answered, bool)
  if waiting:
    stacked = Draw(*map(np.stack, zip(*(d for d, _ in waiting), strict=True)))
    arrays |= _named(stacked, "waiting")
  for i, (_, feedback) in enumerate(waiting):
    named = _named(feedback, f"feedback.{i}")
    arrays |= {name: np.asarray(leaf) for name, leaf in named.items()}
  return arrays


def from_arrays(
  arrays: Mapping[str, Any], key: Array, state: PyTree, draw: Draw
) -> tuple[Array, PyTree, int, list[Waiting]]:
  """The arguments of `to_arrays` again, from its arrays or lists of them.

  Args:
    arrays: by name.
    key, state, draw: of which they must have the shapes.

  Raises:
    UserError: they do not.
  """
  leaves = [
    _like(arrays, name, leaf) for name, leaf in _named(state, "sampler").items()
  ]
  answered = np.asarray(_get(arrays, "waiting.answered"), bool)
  waiting = []
  for i, known in enumerate(answered):
    one = [
      _row(arrays, name, i, leaf)
      for name, leaf in _named(draw, "waiting").items()
    ]
    feedback = _feedback(arrays, f"feedback.{i}") if known else None
    waiting.append((Draw(*one), feedback))
  return (
    _like(arrays, "key", key),
    jax.tree.unflatten(jax.tree.structure(state), leaves),
    int(_get(arrays, "next_number")),
    waiting,
  )


def _get(arrays: Mapping[str, Any], name: str) -> Any:
  if name not in arrays:
    raise UserError(
      f"the state of the stream has no {name!r}; give what state_dict() of a "
      "stream with the same sampler, pool and delay returned."
    )
  return arrays[name]


def _cast(value: Any, name: str, like: Any) -> np.ndarray:
  value = np.asarray(value, like.dtype)
  if value.shape != like.shape:
    raise UserError(
      f"the state of the stream has {name!r} of shape {list(value.shape)}, and "
      f"not {list(like.shape)}; make the stream as the saved one was made."
    )
  return value


def _like(arrays: Mapping[str, Any], name: str, leaf: Any) -> Any:
  value = _get(arrays, name)
  if not _is_key(leaf):
    return _cast(value, name, leaf)
  data = _cast(value, name, jax.eval_shape(jax.random.key_data, leaf))
  return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))


def _row(arrays: Mapping[str, Any], name: str, i: int, leaf: Any) -> np.ndarray:
  return _cast(_get(arrays, name)[i], name, leaf)


def _feedback(arrays: Mapping[str, Any], name: str) -> PyTree:
  """(), an array, or a Feedback."""
  if f"{name}.gain" in arrays:
    gain, arm = (arrays[f"{name}.{field}"] for field in Feedback._fields)
    return Feedback(np.asarray(gain, np.float32), np.asarray(arm, np.int32))
  return np.asarray(arrays[name], np.float32) if name in arrays else ()
