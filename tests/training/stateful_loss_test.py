"""Losses that know or remember the training pool, and the step with them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from alcurr.bandits.gains import prediction_gain
from alcurr.core import specs
from alcurr.data.pool import make_gather
from alcurr.samplers import active_bandit
from alcurr.training import chunks, losses, step
from alcurr.types import Images, Pool

POOL = toy.make_pool(60)
NUM_CLASSES = toy.NUM_CLASSES


def _softmax(logits):
  exp = np.exp(logits - logits.max(1, keepdims=True))
  return exp / exp.sum(1, keepdims=True)


def _cross_entropy(logits, label):
  return -np.log(_softmax(logits)[np.arange(len(label)), label])


def _pool(label):
  image = np.zeros((len(label), 1, 1, 1), np.uint8)
  return Pool(Images(image), jnp.asarray(label, jnp.int32), {}, {})


def test_logit_adjustment_is_that_of_numpy():
  """The priors are the pool's; a class without examples counts as one."""
  label = np.array([0] * 6 + [1] * 3 + [3])
  loss = losses.logit_adjustment(num_classes=4, tau=1.5)
  with jax.debug_nans(True):
    log_prior = jax.jit(loss.init)(_pool(label))
  prior = np.array([6, 3, 1, 1]) / 10
  np.testing.assert_allclose(log_prior, np.log(prior), rtol=1e-6)
  logits = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
  batch = np.array([0, 1, 2, 3, 3])
  found, after = loss.apply(log_prior, np.arange(5), logits, batch)
  expected = _cross_entropy(logits + 1.5 * np.log(prior), batch)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  np.testing.assert_array_equal(after, log_prior)


class _Elr:
  """The rule written as loops over the examples, and gradients by hand."""

  def __init__(self, num_examples, num_classes, decay, weight):
    self.targets = np.zeros((num_examples, num_classes))
    self.decay, self.weight = decay, weight

  def apply(self, index, logits, label):
    p = np.clip(_softmax(logits), 1e-4, 1 - 1e-4)
    believed = p / p.sum(1, keepdims=True)
    for example in np.unique(index):
      old = self.targets[example]
      mean = believed[index == example].mean(0)
      self.targets[example] = self.decay * old + (1 - self.decay) * mean
    agreement = (self.targets[index] * p).sum(1)
    regularizer = np.log(1 - agreement)
    return _cross_entropy(logits, label) + self.weight * regularizer

  def gradient(self, index, logits, label):
    """Returns the gradient by the logits, with the targets held constant."""
    p, t = _softmax(logits), self.targets[index]
    agreement = (t * p).sum(1, keepdims=True)
    by_p = -t / (1 - agreement)
    through = p * (by_p - (by_p * p).sum(1, keepdims=True))
    return p - np.eye(p.shape[1])[label] + self.weight * through


def test_elr_is_that_of_numpy():
  """Over several batches, with an example thrice in one of them."""
  rng = np.random.default_rng(0)
  loss = losses.elr(num_classes=3, decay=0.6, weight=2.0)
  state = loss.init(_pool(rng.integers(0, 3, 8)))
  oracle = _Elr(8, 3, 0.6, 2.0)
  for index in ([0, 1, 2, 3], [4, 1, 1, 1], [0, 1, 6, 7]):
    index = np.array(index)
    logits = rng.normal(size=(4, 3)).astype(np.float32)
    label = rng.integers(0, 3, 4)

    def mean(logits, state=state, index=index, label=label):
      found, state = loss.apply(state, index, logits, label)
      return found.sum(), (found, state)

    with jax.debug_nans(True):
      grad, (found, state) = jax.jit(jax.grad(mean, has_aux=True))(logits)
    np.testing.assert_allclose(
      found, oracle.apply(index, logits, label), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
      grad, oracle.gradient(index, logits, label), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(state, oracle.targets, rtol=1e-5)
  assert (np.asarray(state)[5] == 0).all()  # never drawn


def test_elr_of_a_certain_model_is_finite():
  loss = losses.elr(num_classes=3)
  state = loss.init(_pool([0, 1]))
  logits = jnp.array([[1e4, 0, 0], [0, 0, 1e4]], jnp.float32)
  index = jnp.arange(2, dtype=jnp.int32)
  with jax.debug_nans(True):
    for _ in range(60):
      found, state = loss.apply(state, index, logits, index)
  assert np.isfinite(found).all() and np.isfinite(state).all()


def _steps(loss, sampler, on_nonfinite="stop"):
  model, tx = toy.make_linear(), optax.sgd(0.5, momentum=0.9)
  steps = step.make_steps(
    model, tx, sampler, make_gather(), on_nonfinite, loss=loss
  )
  return steps, step.make_init(model, tx, sampler, loss)


def _sampler():
  return toy.make_sampler("uniform", "x", batch_size=8, num_steps=8)


def test_the_memory_is_that_of_the_examples_trained_on():
  loss = losses.elr(num_classes=NUM_CLASSES)
  steps, init = _steps(loss, _sampler())
  state = init(jax.random.key(0), POOL)
  new, metrics = jax.jit(steps.measured)(state, POOL, POOL, ())
  trained = np.zeros(60, bool)
  trained[np.asarray(metrics.index)] = True
  seen = np.asarray(new.loss_state).any(1)
  np.testing.assert_array_equal(seen, trained)
  params = jax.tree.map(np.asarray, state.params)
  image = np.asarray(POOL.source.image)[metrics.index] / 255.0
  logits = image.reshape(8, -1) @ params["weight"] + params["bias"]
  label = np.asarray(POOL.label)[metrics.index]
  expected = _Elr(60, NUM_CLASSES, 0.7, 3.0).apply(
    np.asarray(metrics.index), logits, label
  )
  np.testing.assert_allclose(metrics.loss, expected.mean(), rtol=1e-4)


# With a state. The values of the others are in losses_test.py.
FAST = {"elr"}


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
    for name in losses.LOSSES
  ],
)
def test_a_run_of_every_loss_makes_no_nan_and_learns(name):
  loss = specs.make(name, losses.LOSSES, "loss", num_classes=NUM_CLASSES)
  steps, init = _steps(loss, _sampler())
  keys = jnp.stack([jax.random.key(seed) for seed in (0, 1)])
  state = jax.vmap(init, (0, None))(keys, POOL)
  chunk = jax.jit(chunks.make_train_chunk(steps, 60, "vmap"))
  with jax.debug_nans(True):
    state, metrics = chunk(state, jnp.int32(60), POOL, POOL)
  first, last = metrics.loss[:, :10].mean(), metrics.loss[:, -10:].mean()
  assert float(last) < float(first) - 0.05
  assert (np.asarray(metrics.violation) == 0).all()


def test_a_skipped_update_is_not_remembered():
  finite = losses.elr(num_classes=NUM_CLASSES)
  loss = finite._replace(
    apply=lambda *a: (jnp.full(8, jnp.inf), finite.apply(*a)[1])
  )
  steps, init = _steps(loss, _sampler(), "skip_update")
  state = init(jax.random.key(0), POOL)
  new, metrics = jax.jit(steps.measured)(state, POOL, POOL, ())
  assert int(metrics.violation) != 0 and int(new.step) == 1
  assert not np.asarray(new.loss_state).any()


def test_gains_are_measured_without_the_memory():
  """The drop of the cross-entropy, before and after, on the same batch."""
  loss = losses.elr(num_classes=NUM_CLASSES)
  sampler = active_bandit(
    batch_size=8, gain=prediction_gain(), num_steps=8, warmup=0
  )
  sampler = sampler._replace(
    update=lambda state, draw, feedback: state._replace(
      reward=feedback if feedback else state.reward
    )
  )
  steps, init = _steps(loss, sampler)
  state = init(jax.random.key(0), POOL)
  new, metrics = steps.measured(state, POOL, POOL, ())
  index = np.asarray(metrics.index)
  flat = np.asarray(POOL.source.image)[index].reshape(8, -1) / 255.0
  label = np.asarray(POOL.label)[index]
  before, after = (
    _cross_entropy(
      flat @ np.asarray(s.params["weight"]) + np.asarray(s.params["bias"]),
      label,
    )
    for s in (state, new)
  )
  gain = new.sampler_state.reward.gain
  np.testing.assert_allclose(gain, before - after, rtol=1e-3, atol=1e-5)
