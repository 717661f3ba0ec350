"""Trains on the candidates whose gradients together help a probe most.

Wang et al. 2024, "GREATS: Online Selection of High-Quality Data for LLM
Training in Every Iteration". With g_i a candidate's gradient and g_val that of
a probe's mean loss, a gradient step η on the set S changes the probe's loss, to
second order with the identity for the Hessian, so that adding i is worth

  U_i(S) = η <g_i, g_val> - η² Σ_{j in S} <g_i, g_j>

The batch is filled one by one with the candidate of the largest U_i: useful,
and unlike those that are already in it.

The paper has "ghost" inner products of every layer. Ours: one forward-mode
derivative of the candidates' losses along g_val gives <g_i, g_val> exactly, for
all of them; the second term is of the last layer alone, of logits z:

  <g_i, g_j> ≈ <∂l_i/∂z_i, ∂l_j/∂z_j> (1 + <h_i, h_j>)

with the layer's inputs h and 1 for its bias; the bias alone without `features`.
A step follows the mean of B gradients, so η is the learning rate over B.

Cost a step: up to three forward passes on M = B / keep candidates, O(B M) for
the greedy choice and O(M²) for the inner products; and a training pass on the
probe at every `prepare_interval`-th step.
"""

import jax
import jax.numpy as jnp

from alcurr.core.arguments import check_at_least
from alcurr.samplers import _candidates
from alcurr.types import (
  Array,
  CandidateInfo,
  PyTree,
  Sampler,
  Signal,
  StepContext,
)


def _fill(gain: Array, gram: Array, step_size: float, batch_size: int) -> Array:
  """Returns the slots [B] that greedily maximise the sum of U_i.

  Numbers that are not finite come last.
  """
  usable = jnp.isfinite(gain) & jnp.isfinite(jnp.diagonal(gram))
  gram = jnp.where(usable[:, None] & usable[None], gram, 0)
  worst = jnp.finfo(jnp.float32).min

  def add(i: Array, carry: tuple[Array, Array, Array]):
    utility, free, slots = carry
    # Among the free ones: first the usable, by utility.
    ranked = jnp.where(usable, jnp.maximum(utility, worst), -jnp.inf)
    order = jnp.where(free, ranked, -jnp.inf)
    best = jnp.where(
      (free & usable).any(), jnp.argmax(order), jnp.argmax(free)
    ).astype(jnp.int32)
    utility = utility - step_size * gram[best]
    return utility, free.at[best].set(False), slots.at[i].set(best)

  start = (
    jnp.where(usable, gain, 0),
    jnp.ones(gain.shape, bool),
    jnp.zeros(batch_size, jnp.int32),
  )
  return jax.lax.fori_loop(0, batch_size, add, start)[2]


def greats(
  *,
  batch_size: int,
  keep: float = 0.5,
  learning_rate: float = 0.1,
  probe_size: int = 64,
  prepare_interval: int = 1,
  features: bool = True,
  scoring_mode: str = "eval",
) -> Sampler:
  """Greedily selects B of M candidates by their worth to the probe pool.

  Args:
    batch_size: B.
    keep: B / M.
    learning_rate: of the training, as of plain gradient descent; the larger,
      the more the candidates in a batch differ. 0: the largest <g_i, g_val>.
    probe_size: examples of the probe, drawn with replacement.
    prepare_interval: steps that one gradient of a probe serves.
    features: whether inner products have the last layer's weights, for which
      the model must have `features`; or its biases alone.
    scoring_mode: of the forward pass that scores, "eval" or "train".
  """
  check_at_least(1, probe_size=probe_size, prepare_interval=prepare_interval)
  check_at_least(0, learning_rate=learning_rate)
  step_size = learning_rate / batch_size

  def prepare(key: Array, context: StepContext) -> PyTree:
    num_examples = context.probe.label.shape[0]
    index = jax.random.randint(key, (probe_size,), 0, num_examples, jnp.int32)
    probe = context.gather(context.probe, index)
    return jax.grad(lambda params: context.loss_fn(params, probe).mean())(
      context.params
    )

  def score(candidates: CandidateInfo) -> PyTree:
    gain = candidates.loss_jvp(candidates.prepared)
    if not learning_rate:
      return gain
    grads = candidates.logit_grads()
    gram = grads @ grads.T
    if features:
      inputs = candidates.features()
      gram = gram * (1 + inputs @ inputs.T)
    return gain, gram

  def select(key: Array, score: PyTree) -> Array:
    if not isinstance(score, tuple):  # the first-order terms alone
      return _candidates.largest(score, batch_size)
    return _fill(*score, step_size, batch_size)

  sampler = _candidates.make_sampler(
    batch_size=batch_size,
    keep=keep,
    scoring_mode=scoring_mode,
    score=score,
    select=select,
  )
  return sampler._replace(
    signal=Signal(lambda key, info: (), 1, prepare, prepare_interval)
  )
