"""Progress signals: how much was learned from a batch.

Each is a factory of a `Gain`: (key, transition, arms) -> Feedback. A signal
asks for just what it reads, so that a forward pass no signal asks for is never
run. "Before" and "after" are the same function with the same key (train mode,
the statistics of the batch, the running ones untouched), at θ and at θ'.

The names and definitions are those of Graves et al. 2017, "Automated
Curriculum Learning for Neural Networks", section 4.
"""

import jax
import jax.numpy as jnp

from alcurr.types import Arms, Array, Feedback, Gain, Pool, Transition


def prediction_gain() -> Gain:
  """L(x, θ) - L(x, θ') on the trained batch x itself.

  The gain of "Data Sampling Algorithms for Active Learning". The loss before
  is the training forward's own; the loss after costs one more forward pass.
  """

  def gain(key: Array, transition: Transition, arms: Arms) -> Feedback:
    after = transition.loss_fn(transition.new_params, transition.batch)
    return Feedback(transition.loss - after, transition.draw.arm)

  return gain


def _check_probe_size(probe_size: int | None) -> None:
  if probe_size is not None and probe_size < 1:
    raise ValueError(f"probe_size must be at least 1, got {probe_size}")


def _uniform_from(key: Array, arms: Arms, arm: Array) -> Array:
  """An example, drawn with replacement, of each arm named: index [b]."""
  place = jax.random.randint(key, arm.shape, 0, arms.size[arm])
  return arms.order[arms.start[arm] + place]


def _gain_on(transition: Transition, pool: Pool, index: Array) -> Array:
  """The drop of the loss on a probe, [b]: two forward passes."""
  probe = transition.gather(pool, index)
  before = transition.loss_fn(transition.params, probe)
  return before - transition.loss_fn(transition.new_params, probe)


def _credit_all(transition: Transition, gain: Array) -> Feedback:
  """Credits one number to every arm of the batch."""
  arm = transition.draw.arm
  return Feedback(jnp.full(arm.shape, gain, jnp.float32), arm)


def self_prediction_gain(*, probe_size: int | None = None) -> Gain:
  """L(x', θ) - L(x', θ') on fresh examples x' of the arms just trained on.

  Each slot of the probe is credited to its own arm.

  Args:
    probe_size: b', spread evenly over the batch; None for the batch size.
  """
  _check_probe_size(probe_size)

  def gain(key: Array, transition: Transition, arms: Arms) -> Feedback:
    arm = transition.draw.arm
    if probe_size is not None:
      # Evenly over the batch, whose slots stand grouped by arm.
      arm = arm[jnp.arange(probe_size) * arm.shape[0] // probe_size]
    index = _uniform_from(key, arms, arm)
    return Feedback(_gain_on(transition, transition.pool, index), arm)

  return gain


def mean_prediction_gain(*, probe_size: int | None = None) -> Gain:
  """L(x', θ) - L(x', θ') on fresh examples of one arm drawn uniformly.

  Args:
    probe_size: b'; None for the batch size.
  """
  _check_probe_size(probe_size)

  def gain(key: Array, transition: Transition, arms: Arms) -> Feedback:
    key_arm, key_probe = jax.random.split(key)
    num_probes = probe_size or transition.draw.arm.shape[0]
    arm = jax.random.randint(key_arm, (), 0, arms.size.shape[0])
    index = _uniform_from(key_probe, arms, jnp.full(num_probes, arm))
    return _credit_all(
      transition, _gain_on(transition, transition.pool, index).mean()
    )

  return gain


def target_prediction_gain(*, probe_size: int | None = None) -> Gain:
  """L(x', θ) - L(x', θ') on fresh examples of the valid pool.

  Args:
    probe_size: b'; None for the batch size.
  """
  _check_probe_size(probe_size)

  def gain(key: Array, transition: Transition, arms: Arms) -> Feedback:
    num_probes = probe_size or transition.draw.arm.shape[0]
    valid = transition.valid
    index = jax.random.randint(key, (num_probes,), 0, valid.label.shape[0])
    return _credit_all(transition, _gain_on(transition, valid, index).mean())

  return gain


def gradient_prediction_gain() -> Gain:
  """||∇L(x, θ)||², the first-order gain of a plain gradient step.

  Of the gradient of the batch's mean loss, which is there already: no
  further forward pass.
  """

  def gain(key: Array, transition: Transition, arms: Arms) -> Feedback:
    squares = (jnp.vdot(g, g) for g in jax.tree.leaves(transition.grads))
    return _credit_all(transition, sum(squares))

  return gain


GAINS = {
  "prediction_gain": prediction_gain,
  "self_prediction_gain": self_prediction_gain,
  "mean_prediction_gain": mean_prediction_gain,
  "target_prediction_gain": target_prediction_gain,
  "gradient_prediction_gain": gradient_prediction_gain,
}
