"""The shapes of a sampler's scores and feedback, without the loop's model.

A toy model is evaluated abstractly in its place: nothing is computed, and
sizes that only the loop knows are made up.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.training.batches import selected_draw
from alcurr.types import (
  Array,
  Batch,
  CandidateInfo,
  Candidates,
  Draw,
  Pool,
  PyTree,
  Sampler,
  StepContext,
  StepInfo,
)

# What a loop may tell of its examples: "after" are losses after the update.
TOLD = ("losses", "after", "logits", "logit_grads", "features")

_NUM_OUTPUTS = 16
_PARAMS = {"weight": jax.ShapeDtypeStruct((), jnp.float32)}


def num_outputs(pool: Pool) -> int:
  """Returns the size of logits and features: the classes, if it knows them."""
  known = pool.partitions.get("label")
  return _NUM_OUTPUTS if known is None else known.size.shape[0]


def known_shapes(
  pool: Pool, size: int, names: Sequence[str] = TOLD
) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns the shapes of what a loop tells of b examples, by name."""
  losses = jax.ShapeDtypeStruct((size,), np.float32)
  outputs = jax.ShapeDtypeStruct((size, num_outputs(pool)), np.float32)
  one = ("losses", "after")
  return {name: losses if name in one else outputs for name in names}


def score_shapes(sampler: Sampler, pool: Pool, draw: Draw) -> PyTree:
  """Returns the scores of a draw of M candidates."""

  def score(params: PyTree, pool: Pool, draw: Draw) -> PyTree:
    batch = _gather_drawn(pool, draw)
    outputs = _outputs(pool, draw.index.shape[0])
    info = CandidateInfo(
      draw=draw,
      batch=batch,
      logits=outputs,
      loss=_losses(params, batch),
      pool=pool,
      loss_jvp=lambda tangent: _losses(params, batch),
      logit_grads=lambda: outputs,
      features=lambda: outputs,
      prepared=_prepare(sampler, params, pool),
    )
    return sampler.score(info)

  return jax.eval_shape(score, _PARAMS, pool, draw)


def feedback_shapes(
  sampler: Sampler, pool: Pool, draw: Draw, candidates: Candidates | None
) -> PyTree:
  """Returns the feedback of a draw, of B examples or M candidates."""

  def measure(
    params: PyTree, pool: Pool, draw: Draw, candidates: Candidates | None
  ) -> PyTree:
    if candidates is not None:
      draw = selected_draw(draw, candidates.selection)
    batch = _gather_drawn(pool, draw)
    outputs = _outputs(pool, draw.index.shape[0])
    info = StepInfo(
      draw=draw,
      candidates=candidates,
      batch=batch,
      logits=outputs,
      loss=_losses(params, batch),
      params=params,
      new_params=params,
      grads=params,
      updates=params,
      pool=pool,
      probe=pool,
      loss_fn=_losses,
      gather=_gather,
      loss_jvp=lambda tangent: _losses(params, batch),
      logit_grads=lambda: outputs,
      features=lambda: outputs,
      predict=lambda batch: _outputs(pool, batch.label.shape[0]),
      penalty=lambda params: params["weight"],
      prepared=_prepare(sampler, params, pool),
    )
    return sampler.signal.measure(jax.random.key(0), info)

  return jax.eval_shape(measure, _PARAMS, pool, draw, candidates)


def _prepare(sampler: Sampler, params: PyTree, pool: Pool) -> PyTree:
  if sampler.signal is None or sampler.signal.prepare is None:
    return ()
  context = StepContext(params, pool, _losses, _gather)
  return sampler.signal.prepare(jax.random.key(0), context)


def _losses(params: PyTree, batch: Batch) -> Array:
  return jnp.full(batch.label.shape[0], params["weight"])


def _outputs(pool: Pool, size: int) -> Array:
  return jnp.zeros((size, num_outputs(pool)), jnp.float32)


def _gather(pool: Pool, index: Array) -> Batch:
  image = jnp.zeros((index.shape[0], 1, 1, 1), jnp.float32)
  return Batch(image, pool.label[index])


def _gather_drawn(pool: Pool, draw: Draw) -> Batch:
  batch = _gather(pool, draw.index)
  return batch if draw.label is None else batch._replace(label=draw.label)
