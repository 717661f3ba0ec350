"""Progress signals: how much was learned from a batch.

Each is a factory of a `Gain`, whose `measure` is a function (key, transition,
arms) -> Feedback. A signal asks for just what it reads, so that a forward pass
no signal asks for is never run. "Before" and "after" are the same function
with the same key (train mode, the statistics of the batch, the running ones
untouched), at θ and at θ'.

The names and definitions are those of Graves et al. 2017, "Automated
Curriculum Learning for Neural Networks", section 4, but for the first-order
gain, the influence, and the control at the end.
"""

import jax
import jax.numpy as jnp

from alcurr.plugins import Registry
from alcurr.types import (
  Arms,
  Array,
  Feedback,
  Gain,
  Pool,
  PyTree,
  Situation,
  Transition,
)


def prediction_gain() -> Gain:
  """L(x, θ) - L(x, θ') on the trained batch x itself.

  The gain of "Data Sampling Algorithms for Active Learning". The loss before
  is the training forward's own; the loss after costs one more forward pass.
  """

  def measure(key: Array, transition: Transition, arms: Arms) -> Feedback:
    loss_fn = transition.situation.loss_fn
    after = loss_fn(transition.new_params, transition.batch)
    return Feedback(transition.loss - after, transition.draw.arm)

  return Gain(measure)


def _check_probe_size(probe_size: int | None) -> None:
  if probe_size is not None and probe_size < 1:
    raise ValueError(f"probe_size must be at least 1, got {probe_size}")


def _uniform_from(key: Array, arms: Arms, arm: Array) -> Array:
  """An example, drawn with replacement, of each arm named: index [b]."""
  place = jax.random.randint(key, arm.shape, 0, arms.size[arm])
  return arms.order[arms.start[arm] + place]


def _gain_on(transition: Transition, pool: Pool, index: Array) -> Array:
  """The drop of the loss on a probe, [b]: two forward passes."""
  situation = transition.situation
  probe = situation.gather(pool, index)
  before = situation.loss_fn(situation.params, probe)
  return before - situation.loss_fn(transition.new_params, probe)


def _credit_all(transition: Transition, gain: Array) -> Feedback:
  """Credits one number to every arm of the batch."""
  arm = transition.draw.arm
  return Feedback(jnp.full(arm.shape, gain, jnp.float32), arm)


def _inner(left: PyTree, right: PyTree) -> Array:
  products = jax.tree.map(jnp.vdot, left, right)
  return sum(jax.tree.leaves(products))


def self_prediction_gain(*, probe_size: int | None = None) -> Gain:
  """L(x', θ) - L(x', θ') on fresh examples x' of the arms just trained on.

  Each slot of the probe is credited to its own arm.

  Args:
    probe_size: b', spread evenly over the batch; None for the batch size.
  """
  _check_probe_size(probe_size)

  def measure(key: Array, transition: Transition, arms: Arms) -> Feedback:
    arm = transition.draw.arm
    if probe_size is not None:
      # Evenly over the batch, whose slots stand grouped by arm.
      arm = arm[jnp.arange(probe_size) * arm.shape[0] // probe_size]
    index = _uniform_from(key, arms, arm)
    return Feedback(_gain_on(transition, transition.pool, index), arm)

  return Gain(measure)


def mean_prediction_gain(*, probe_size: int | None = None) -> Gain:
  """L(x', θ) - L(x', θ') on fresh examples of one arm drawn uniformly.

  Args:
    probe_size: b'; None for the batch size.
  """
  _check_probe_size(probe_size)

  def measure(key: Array, transition: Transition, arms: Arms) -> Feedback:
    key_arm, key_probe = jax.random.split(key)
    num_probes = probe_size or transition.draw.arm.shape[0]
    arm = jax.random.randint(key_arm, (), 0, arms.size.shape[0])
    index = _uniform_from(key_probe, arms, jnp.full(num_probes, arm))
    return _credit_all(
      transition, _gain_on(transition, transition.pool, index).mean()
    )

  return Gain(measure)


def target_prediction_gain(*, probe_size: int | None = None) -> Gain:
  """L(x', θ) - L(x', θ') on fresh examples of the probe pool.

  Args:
    probe_size: b'; None for the batch size.
  """
  _check_probe_size(probe_size)

  def measure(key: Array, transition: Transition, arms: Arms) -> Feedback:
    num_probes = probe_size or transition.draw.arm.shape[0]
    probe = transition.situation.probe
    index = jax.random.randint(key, (num_probes,), 0, probe.label.shape[0])
    return _credit_all(transition, _gain_on(transition, probe, index).mean())

  return Gain(measure)


def gradient_prediction_gain() -> Gain:
  """||∇L(x, θ)||², the first-order gain of a plain gradient step.

  Of the gradient of the batch's mean loss, which is there already: no
  further forward pass.
  """

  def measure(key: Array, transition: Transition, arms: Arms) -> Feedback:
    grads = transition.grads
    return _credit_all(transition, _inner(grads, grads))

  return Gain(measure)


def first_order_gain() -> Gain:
  """-<∇L(x, θ), θ' - θ>, the first-order gain of the step that was made.

  The future work of "Data Sampling Algorithms for Active Learning", a gain
  from the magnitude of the descent step: the optimiser's own step, with its
  momentum and its scales. No further forward pass.
  """

  def measure(key: Array, transition: Transition, arms: Arms) -> Feedback:
    inner = _inner(transition.grads, transition.updates)
    return _credit_all(transition, -inner)

  return Gain(measure)


def influence(
  *, probe_size: int = 64, refresh: int = 1, shuffled: bool = False
) -> Gain:
  """<∇L(X, θ), ∇l(x_i, θ)>: what learning x_i does for the probe pool.

  To first order, a small gradient step on example i lowers the mean loss on a
  probe X by its size times this inner product (Pruthi et al. 2020, "Estimating
  Training Data Influence by Tracing Gradient Descent", equation 1). One
  forward derivative of the batch's losses along the probe's gradient gives it
  for every example of the batch, and no example's own gradient is formed.
  Each example is credited to its own arm: draw an arm for each.

  Cost of a measurement: the derivative, up to two forward passes, on top of
  the training forward it shares; of a refresh: a training pass on the probe.

  Args:
    probe_size: b', drawn from the probe pool with replacement.
    refresh: measurements for which one gradient of a probe serves.
    shuffled: the control: each batch's influences are shuffled among its
      examples, so that their arms are paid at random.
  """
  _check_probe_size(probe_size)
  if refresh < 1:
    raise ValueError(f"refresh must be at least 1, got {refresh}")

  def prepare(key: Array, situation: Situation) -> PyTree:
    num_examples = situation.probe.label.shape[0]
    index = jax.random.randint(key, (probe_size,), 0, num_examples)
    probe = situation.gather(situation.probe, index)
    return jax.grad(lambda params: situation.loss_fn(params, probe).mean())(
      situation.params
    )

  def measure(key: Array, transition: Transition, arms: Arms) -> Feedback:
    gain = transition.loss_along(transition.prepared)
    if shuffled:
      gain = jax.random.permutation(key, gain)
    return Feedback(gain, transition.draw.arm)

  return Gain(measure, prepare, refresh)


def random_gain() -> Gain:
  """Normal noise: the control that shows what a bandit does when it learns
  nothing."""

  def measure(key: Array, transition: Transition, arms: Arms) -> Feedback:
    return _credit_all(transition, jax.random.normal(key))

  return Gain(measure)


GAINS = Registry(
  "gains",
  {
    "prediction_gain": prediction_gain,
    "self_prediction_gain": self_prediction_gain,
    "mean_prediction_gain": mean_prediction_gain,
    "target_prediction_gain": target_prediction_gain,
    "gradient_prediction_gain": gradient_prediction_gain,
    "first_order_gain": first_order_gain,
    "influence": influence,
    "random_gain": random_gain,
  },
)
