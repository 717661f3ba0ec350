"""Importance sampling against NumPy, the gradients it bounds, and its mean."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from toy_candidates import POOL, make_info, softmax

from alcurr.data.pool import make_gather
from alcurr.samplers import importance_sampling
from alcurr.training import step

RNG = np.random.default_rng(0)
LOGITS, LABEL = 2 * RNG.normal(size=(12, 4)), RNG.integers(0, 4, 12)
FEATURES = RNG.normal(size=(12, 5)).astype(np.float32)
KEYS = jax.random.split(jax.random.key(0), 20_000)


def _norm():
  return np.linalg.norm(softmax(LOGITS) - np.eye(4)[LABEL], axis=1)


def test_the_score_is_the_norm_of_the_last_layers_gradient():
  """By autodiff of a linear layer, with and without its weights."""
  info = make_info(LOGITS, LABEL, features=lambda: jnp.asarray(FEATURES))
  sampler = importance_sampling(batch_size=4)
  np.testing.assert_allclose(sampler.score(info), _norm(), rtol=1e-5)

  def loss(layer, i):
    weight, bias = layer
    logits = LOGITS[i] + FEATURES[i] @ weight + bias
    return -jax.nn.log_softmax(logits)[LABEL[i]]

  layer = jnp.zeros((5, 4)), jnp.zeros(4)
  grads = [jax.grad(loss)(layer, i) for i in range(12)]
  expected = [optax.tree.norm(grad) for grad in grads]
  whole = importance_sampling(batch_size=4, last_layer=True)
  np.testing.assert_allclose(whole.score(info), expected, rtol=1e-5)


def _select(sampler, score):
  state = sampler.init(jax.random.key(0), POOL)
  selection = jax.jit(
    jax.vmap(lambda key: sampler.select(key, state, None, jnp.float32(score)))
  )(KEYS)
  return jax.device_get(selection)


def test_draws_and_weights_are_those_of_the_formula():
  slots, weight = _select(importance_sampling(batch_size=4), _norm())
  prob = _norm() / _norm().sum()
  share = np.bincount(slots.ravel(), minlength=12) / slots.size
  np.testing.assert_allclose(share, prob, atol=0.01)
  np.testing.assert_allclose(weight, 1 / (12 * prob[slots]), rtol=1e-5)


def test_the_weighted_mean_is_unbiased():
  """Over keys, of numbers that have nothing to do with the norms."""
  slots, weight = _select(importance_sampling(batch_size=4), _norm())
  numbers = RNG.normal(size=12) + 1
  means = (weight * numbers[slots]).mean(1)
  error = means.std() / np.sqrt(len(means))
  assert abs(means.mean() - numbers.mean()) < 4 * error


def test_the_weights_undo_the_norms():
  """The estimate of the mean norm has no variance at all."""
  slots, weight = _select(importance_sampling(batch_size=4), _norm())
  np.testing.assert_allclose(
    (weight * _norm()[slots]).mean(1), _norm().mean(), rtol=1e-5
  )


@pytest.mark.parametrize("score", [np.zeros(12), np.full(12, np.nan)])
def test_without_norms_all_are_alike(score):
  slots, weight = _select(importance_sampling(batch_size=4), score)
  share = np.bincount(slots.ravel(), minlength=12) / slots.size
  np.testing.assert_allclose(share, 1 / 12, atol=0.01)
  np.testing.assert_allclose(weight, 1, rtol=1e-6)


def test_tau_is_the_papers_and_switches_the_scores_on():
  """Measured on the B trained on until it passes the threshold, then on M."""
  sampler = importance_sampling(batch_size=16, threshold=0.3, smoothing=0.5)
  model, tx = toy.make_linear(), optax.sgd(0.3)
  state = step.make_init(model, tx, sampler)(jax.random.key(0), POOL)
  steps = step.make_steps(model, tx, sampler, make_gather())
  one = jax.jit(steps.measured)
  tau, scored = 0.0, []
  for _ in range(4):
    is_scored = tau > 0.3
    draw = sampler.sample(jax.random.key(0), state.sampler_state, POOL)
    index = np.asarray(draw.index)[: 48 if is_scored else 16]
    image = np.asarray(POOL.source.image)[index].reshape(len(index), -1) / 255.0
    logits = image @ np.asarray(state.params["weight"])
    logits += np.asarray(state.params["bias"])
    off = softmax(logits) - np.eye(4)[np.asarray(POOL.label)[index]]
    prob = np.linalg.norm(off, axis=1)
    prob /= prob.sum()
    uniform = np.full(len(prob), 1 / len(prob))
    away = ((prob - uniform) ** 2).sum() / (prob**2).sum()
    tau = 0.5 * tau + 0.5 / np.sqrt(1 - away)
    state, metrics = one(state, POOL, POOL, ())
    np.testing.assert_allclose(state.sampler_state.tau, tau, rtol=1e-4)
    scored.append(int(metrics.num_scored))
  assert scored == [0, 48, 48, 48]


def test_the_threshold_is_where_it_pays():
  sampler = importance_sampling(batch_size=8)  # 2 of three times as many
  state = sampler.init(jax.random.key(0), POOL)
  for tau, scores in ((1.99, False), (2.01, True)):
    state = state._replace(tau=jnp.float32(tau))
    assert bool(sampler.is_scoring(state)) is scores


def test_a_tau_that_is_not_finite_is_ignored():
  sampler = importance_sampling(batch_size=8)
  state = sampler.init(jax.random.key(0), POOL)
  after = sampler.update(state, None, jnp.float32(np.nan))
  assert (float(after.tau), int(after.ignored)) == (0, 1)
