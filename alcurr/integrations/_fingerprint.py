"""The parts that a stream and the one that resumes it have in common."""

import contextlib
import functools
import hashlib
from collections.abc import Iterator

import jax
import numpy as np

from alcurr.core.errors import UserError
from alcurr.integrations import _programs
from alcurr.integrations._shapes import (
  feedback_shapes,
  known_shapes,
  score_shapes,
)
from alcurr.types import Array, Candidates, Draw, Pool, PyTree, Sampler

# How a message names each part.
PARTS = {
  "examples": "the number of examples in the pool",
  "pool": "the pool's labels, scores or partitions",
  "batch_size": "the batch size",
  "sampler": "the sampler, its arguments, or the version of JAX",
  "delay": "the delay",
}


def fingerprint(
  sampler: Sampler, pool: Pool, key: Array, batch_size: int, delay: int
) -> dict[str, np.ndarray]:
  """Returns numbers that differ where the draws may: the keys of PARTS.

  The sampler's are a hash of its programs, in which its arguments stand.
  """
  content = hashlib.blake2b(digest_size=16)
  for path, leaf in jax.tree.leaves_with_path(pool):
    array = np.asarray(leaf)
    head = f"{path}{array.shape}{array.dtype}"
    content.update(head.encode() + array.tobytes())
  leaves, treedef = jax.tree.flatten(_abstract((pool, key)))
  programs = _hash_programs(sampler, tuple(leaves), treedef, batch_size)
  return {
    "examples": np.int64(pool.label.shape[0]),
    "pool": np.frombuffer(content.digest(), np.uint8),
    "batch_size": np.int64(batch_size),
    "sampler": np.frombuffer(programs, np.uint8),
    # Without a signal, no draw depends on when another is updated.
    "delay": np.int64(delay if sampler.signal else 0),
  }


@functools.lru_cache(maxsize=64)
def _hash_programs(
  sampler: Sampler,
  leaves: tuple[jax.ShapeDtypeStruct, ...],
  treedef: jax.tree_util.PyTreeDef,
  batch_size: int,
) -> bytes:
  """Hashes a sampler's programs for a pool and a key of these shapes."""
  content = hashlib.blake2b(digest_size=16)
  pool, key = jax.tree.unflatten(treedef, leaves)
  for text in _program_texts(sampler, pool, key, batch_size):
    content.update(text.encode())
  return content.digest()


def _program_texts(
  sampler: Sampler, pool: Pool, key: Array, batch_size: int
) -> Iterator[str]:
  """Yields the programs of everything that the draws come from.

  The pool and the key are shapes and dtypes alone, so that no text depends on
  the state.
  """
  signal = sampler.signal
  yield f"{sampler.spec} {signal and signal.interval}"
  number = np.int32(0)
  init = _lower(jax.jit(sampler.init), key, pool)
  yield init.as_text()
  state = _abstract(init.out_info)
  sample = _lower(
    _programs.sample, sampler, key, number, state, pool, None, number
  )
  yield sample.as_text()
  draw: Draw = _abstract(sample.out_info[0])
  yield _lower(_programs.update, sampler, state, draw, ()).as_text()
  candidates = None
  if sampler.select is not None:
    score = score_shapes(sampler, pool, draw)
    select = _lower(_programs.select, sampler, key, number, state, draw, score)
    yield select.as_text()
    # Other scores are computed by the loop.
    with contextlib.suppress(UserError):
      known = known_shapes(pool, draw.index.shape[0])
      yield _lower(_programs.score, sampler, draw, known, pool).as_text()
    candidates = Candidates(
      draw, score, _abstract(select.out_info), np.bool_(True)
    )
  if signal is None:
    return
  feedback = None
  known = known_shapes(pool, batch_size)
  # A signal that needs the model is measured by the loop.
  with contextlib.suppress(UserError):
    measure = _lower(
      _programs.measure, sampler, key, number, draw, candidates, known, pool
    )
    yield measure.as_text()
    feedback = _abstract(measure.out_info)
  if feedback is None:
    # Whatever a signal's code raises.
    with contextlib.suppress(Exception):
      feedback = feedback_shapes(sampler, pool, draw, candidates)
  if feedback is not None:
    yield _lower(_programs.update, sampler, state, draw, feedback).as_text()


def _lower(program: jax.stages.Wrapped, *args: PyTree) -> jax.stages.Lowered:
  """Lowers a program to the same text on every machine."""
  return program.trace(*args).lower(lowering_platforms=("cpu",))


def _abstract(tree: PyTree) -> PyTree:
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
