"""Progress signals: how much was learned from a batch.

Each is a factory of a `Gain`, whose `measure` is a function (key, info,
partition) -> Feedback. XLA prunes whatever a gain does not read, so a forward
pass that no gain asks for is never run. The losses before and after an update
are the same function with the same key, at θ and at θ': in train mode, with
the statistics of the batch, leaving the running ones untouched.

Some gains are of each example, and credit its own arm: the prediction gain, the
self-prediction gain and the influence. The others are one number for the whole
batch, credited to all arms that it was drawn from. If every example draws its
own arm, nearly all arms are then paid alike, and a bandit learns little: take
them with `arms_per_batch=1`.

Names and definitions follow Graves et al. 2017, "Automated Curriculum Learning
for Neural Networks", section 4, except for the first-order gain, the influence,
and the control at the end.
"""

import jax
import jax.numpy as jnp
import numpy as np

from alcurr.bandits._complexity_gains import (
  gradient_l2_gain,
  gradient_variational_gain,
  l2_gain,
  variational_gain,
)
from alcurr.bandits._feedback import credit_all, inner_product
from alcurr.bandits.probes import draw_from_arms, make_probe_draw
from alcurr.core.arguments import check_at_least
from alcurr.core.mixtures import Weights
from alcurr.core.registry import Registry
from alcurr.types import (
  Array,
  Feedback,
  Gain,
  Partition,
  Pool,
  PyTree,
  StepContext,
  StepInfo,
)


def summarize_feedback(feedback: PyTree) -> tuple[Array, Array, Array]:
  """Returns the mean of the finite gains, or numbers of other feedback.

  Also returns how many are finite, and how many are not: [] int32. The mean of
  none is 0: a NaN would stop a run under JAX_DEBUG_NANS.
  """
  numbers = feedback.gain if isinstance(feedback, Feedback) else feedback
  leaves = [x.astype(jnp.float32).ravel() for x in jax.tree.leaves(numbers)]
  gains = jnp.concatenate([jnp.zeros(0, jnp.float32), *leaves])
  finite = jnp.isfinite(gains)
  count = finite.sum(dtype=jnp.int32)
  total = jnp.where(finite, gains, 0).sum()
  mean = total / jnp.maximum(count, 1).astype(jnp.float32)
  return mean, count, gains.size - count


def prediction_gain() -> Gain:
  """Measures L(x, θ) - L(x, θ') on the trained batch x itself.

  The gain of "Data Sampling Algorithms for Active Learning". The loss before
  comes from the training forward pass; the loss after costs one more.
  """

  def measure(key: Array, info: StepInfo, partition: Partition) -> Feedback:
    after = info.loss_fn(info.new_params, info.batch)
    return Feedback(info.loss - after, info.draw.arm)

  return Gain(measure)


def _gain_on(info: StepInfo, pool: Pool, index: Array) -> Array:
  """Returns the drop of the loss on a probe, [b]: two forward passes."""
  probe = info.gather(pool, index)
  before = info.loss_fn(info.params, probe)
  return before - info.loss_fn(info.new_params, probe)


def self_prediction_gain(*, probe_size: int | None = None) -> Gain:
  """Measures L(x', θ) - L(x', θ') on fresh examples of the arms trained on.

  Each example of the probe is credited to its own arm.

  Args:
    probe_size: b', spread evenly over the batch; None for the batch size.
  """
  check_at_least(1, probe_size=probe_size)

  def measure(key: Array, info: StepInfo, partition: Partition) -> Feedback:
    arm = info.draw.arm
    if probe_size is not None:
      # Evenly over the batch, whose slots are grouped by arm.
      arm = arm[np.arange(probe_size) * arm.shape[0] // probe_size]
    index = draw_from_arms(key, partition, arm)
    return Feedback(_gain_on(info, info.pool, index), arm)

  return Gain(measure)


def mean_prediction_gain(*, probe_size: int | None = None) -> Gain:
  """Measures L(x', θ) - L(x', θ') on b' fresh examples of a random arm.

  `probe_size` is b'; None for the batch size.
  """
  check_at_least(1, probe_size=probe_size)

  def measure(key: Array, info: StepInfo, partition: Partition) -> Feedback:
    key_arm, key_probe = jax.random.split(key)
    num_probes = probe_size or info.draw.arm.shape[0]
    arm = jax.random.randint(key_arm, (), 0, partition.size.shape[0], jnp.int32)
    index = draw_from_arms(key_probe, partition, jnp.full(num_probes, arm))
    return credit_all(info, _gain_on(info, info.pool, index).mean())

  return Gain(measure)


def target_prediction_gain(
  *,
  probe_size: int | None = None,
  mixture: Weights = None,
  mixture_of: str = "groups",
) -> Gain:
  """Measures L(x', θ) - L(x', θ') on b' fresh examples of the probe pool.

  Args:
    probe_size: b'; None for the batch size.
    mixture: the shares in which the probe's arms are drawn, at least 0: by
      name, where the others have none, or in their order. None: all examples
      alike.
    mixture_of: the partition whose arms they are, such as "groups" or "label".
  """
  check_at_least(1, probe_size=probe_size)
  probe_draw = make_probe_draw(mixture, mixture_of)

  def measure(key: Array, info: StepInfo, partition: Partition) -> Feedback:
    num_probes = probe_size or info.draw.arm.shape[0]
    probe = info.probe
    index = probe_draw.draw(key, probe, num_probes)
    return credit_all(info, _gain_on(info, probe, index).mean())

  return Gain(measure, partitions=probe_draw.partitions, check=probe_draw.check)


def gradient_prediction_gain() -> Gain:
  """Measures ||∇L(x, θ)||², the first-order gain of a plain gradient step.

  Uses the gradient of the batch's mean loss, which the update computes anyway:
  no further forward pass.
  """

  def measure(key: Array, info: StepInfo, partition: Partition) -> Feedback:
    grads = info.grads
    return credit_all(info, inner_product(grads, grads))

  return Gain(measure)


def first_order_gain() -> Gain:
  """Measures -<∇L(x, θ), θ' - θ>, the first-order gain of the actual update.

  Suggested as future work by "Data Sampling Algorithms for Active Learning":
  a gain from the magnitude of the descent step. The step is the optimiser's,
  including momentum and scaling. No further forward pass.
  """

  def measure(key: Array, info: StepInfo, partition: Partition) -> Feedback:
    return credit_all(info, -inner_product(info.grads, info.updates))

  return Gain(measure)


def influence(
  *,
  probe_size: int = 64,
  prepare_interval: int = 1,
  shuffled: bool = False,
  mixture: Weights = None,
  mixture_of: str = "groups",
) -> Gain:
  """Measures <∇L(X, θ), ∇l(x_i, θ)>: how much x_i helps on the probe pool.

  To first order, a small gradient step on example i lowers the mean loss on a
  probe X by its size times this inner product (Pruthi et al. 2020, "Estimating
  Training Data Influence by Tracing Gradient Descent", equation 1). One
  forward-mode derivative of the batch's losses along the probe's gradient
  gives it for every example of the batch; no per-example gradient is formed.
  Each example is credited to its own arm, so draw an arm for each.

  A measurement costs up to two forward passes on top of the training forward,
  which it shares; a preparation a training pass on the probe.

  Args:
    probe_size: b', drawn from the probe pool with replacement.
    prepare_interval: measurements that one gradient of a probe serves.
    shuffled: the control: each batch's influences are shuffled among its
      examples, so that their arms are paid at random.
    mixture: the shares in which the probe's arms are drawn, as in
      `target_prediction_gain`.
    mixture_of: the partition whose arms they are.
  """
  check_at_least(1, probe_size=probe_size, prepare_interval=prepare_interval)
  probe_draw = make_probe_draw(mixture, mixture_of)

  def prepare(key: Array, context: StepContext) -> PyTree:
    index = probe_draw.draw(key, context.probe, probe_size)
    probe = context.gather(context.probe, index)
    return jax.grad(lambda params: context.loss_fn(params, probe).mean())(
      context.params
    )

  def measure(key: Array, info: StepInfo, partition: Partition) -> Feedback:
    gain = info.loss_jvp(info.prepared)
    if shuffled:
      gain = jax.random.permutation(key, gain)
    return Feedback(gain, info.draw.arm)

  return Gain(
    measure,
    prepare,
    prepare_interval,
    partitions=probe_draw.partitions,
    check=probe_draw.check,
  )


def random_gain() -> Gain:
  """Draws normal noise, the control: a bandit without a signal."""

  def measure(key: Array, info: StepInfo, partition: Partition) -> Feedback:
    return credit_all(info, jax.random.normal(key, dtype=jnp.float32))

  return Gain(measure)


GAINS = Registry(
  "gains",
  {
    "first_order_gain": first_order_gain,
    "gradient_l2_gain": gradient_l2_gain,
    "gradient_prediction_gain": gradient_prediction_gain,
    "gradient_variational_gain": gradient_variational_gain,
    "influence": influence,
    "l2_gain": l2_gain,
    "mean_prediction_gain": mean_prediction_gain,
    "prediction_gain": prediction_gain,
    "random_gain": random_gain,
    "self_prediction_gain": self_prediction_gain,
    "target_prediction_gain": target_prediction_gain,
    "variational_gain": variational_gain,
  },
  record=Gain,
)
