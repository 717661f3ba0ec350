"""Candidates with given logits, for the tests of samplers that score some."""

import jax.numpy as jnp
import numpy as np
import toy

from alcurr.training.batches import logit_grads
from alcurr.training.losses import softmax_cross_entropy
from alcurr.types import Batch, CandidateInfo, Draw

POOL = toy.make_pool(scores=("irreducible",))


def make_info(logits, label=None, index=None, **known) -> CandidateInfo:
  """Returns candidates of POOL; `known` replaces whatever a score may ask."""
  logits = jnp.asarray(logits, jnp.float32)
  count = len(logits)
  label = jnp.asarray(np.zeros(count) if label is None else label, jnp.int32)
  index = jnp.asarray(np.arange(count) if index is None else index, jnp.int32)
  batch = Batch((), label)
  ones = jnp.ones(count, jnp.float32)
  info = CandidateInfo(
    draw=Draw(index, ones, ones),
    batch=batch,
    logits=logits,
    loss=softmax_cross_entropy(logits, label),
    pool=POOL,
    loss_jvp=None,
    logit_grads=lambda: logit_grads(softmax_cross_entropy, logits, batch),
    features=None,
    prepared=(),
  )
  return info._replace(**known)


def softmax(logits) -> np.ndarray:
  """Returns probabilities [M, V] by NumPy, in float64."""
  logits = np.asarray(logits, np.float64)
  power = np.exp(logits - logits.max(1, keepdims=True))
  return power / power.sum(1, keepdims=True)
