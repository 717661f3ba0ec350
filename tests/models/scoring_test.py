"""A network that scores candidates beside the one that is trained."""

import jax
import numpy as np
import optax
import toy
import toy_samplers

from alcurr import models
from alcurr.data.pool import make_gather
from alcurr.training import step
from alcurr.training.keys import step_keys
from alcurr.types import Model

POOL = toy.make_pool()
VALID = toy.make_pool(100, seed=1)


def _dark() -> Model:
  """Returns a softmax regression that sees half of each value."""
  linear = toy.make_linear()

  def apply(key, params, model_state, image, *, train):
    return linear.apply(key, params, model_state, image / 2, train=train)

  return linear._replace(apply=apply)


def _train(model: Model, sampler, steps=5):
  """Returns the state and the examples of each step."""
  tx, index = optax.sgd(0.3), []
  parts = step.make_steps(model, tx, sampler, make_gather())
  state = step.make_init(model, tx, sampler)(jax.random.key(0), POOL)
  one = jax.jit(parts.measured)
  for _ in range(steps):
    state, metrics = one(state, POOL, VALID, ())
    index.append(np.asarray(metrics.index))
  return state, index


def test_the_scorer_chooses_and_both_train_on_the_batch():
  """Each network's parameters are those of training it alone on the batches."""
  sampler = toy_samplers.largest_loss(batch_size=16, num_candidates=64)
  linear, dark = toy.make_linear(), _dark()
  both = models.with_scorer(linear, dark)
  state, index = _train(both, sampler)
  # The one that scores selects as if it were trained alone.
  alone, expected = _train(dark, sampler)
  np.testing.assert_array_equal(index, expected)
  scorer = state.params["scorer"]
  for name, leaf in alone.params.items():
    np.testing.assert_allclose(scorer[name], leaf, rtol=1e-5, atol=1e-7)
  assert not np.allclose(state.params["weight"], scorer["weight"])


def test_the_model_itself_is_trained_as_without_a_scorer():
  uniform = toy.make_sampler(
    {"name": "uniform"}, "x", batch_size=16, num_steps=8
  )
  linear = toy.make_linear()
  plain, _ = _train(linear, uniform)
  both, _ = _train(models.with_scorer(linear, _dark()), uniform)
  for name, leaf in plain.params.items():
    np.testing.assert_allclose(both.params[name], leaf, rtol=1e-6, atol=1e-8)


def test_a_scorer_may_share_the_parameters():
  """The same candidates are scored by the model's weights on half the value."""
  sampler = toy_samplers.largest_loss(batch_size=16, num_candidates=64)
  linear, dark = toy.make_linear(), _dark()
  shared = models.with_scorer(linear, dark, shared=True)
  tx = optax.sgd(0.3)
  state = step.make_init(shared, tx, sampler)(jax.random.key(0), POOL)
  assert set(state.params) == {"weight", "bias"}
  parts = step.make_steps(shared, tx, sampler, make_gather())
  _, metrics = jax.jit(parts.measured)(state, POOL, VALID, ())
  key = step_keys(state.key, 0).draw
  index = np.asarray(sampler.sample(key, state.sampler_state, POOL).index)
  image = np.asarray(POOL.source.image)[index].reshape(64, -1) / 255.0 / 2
  logits = image @ np.asarray(state.params["weight"])
  logits += np.asarray(state.params["bias"])
  label = np.asarray(POOL.label)[index]
  loss = np.log(np.exp(logits).sum(1)) - logits[np.arange(64), label]
  assert set(np.asarray(metrics.index)) == set(index[np.argsort(-loss)[:16]])


def test_a_probes_gradient_is_the_scorers_too():
  """Else every candidate would score alike, along a direction of zeros."""
  sampler = toy.make_sampler(
    {"name": "greats", "keep": 0.25, "probe_size": 16, "learning_rate": 0.0},
    "x",
    batch_size=16,
    num_steps=8,
  )
  chosen = []
  for model in (models.with_scorer(toy.make_linear(), _dark()), _dark()):
    parts = step.make_steps(model, optax.sgd(0.3), sampler, make_gather())
    init = step.make_init(model, optax.sgd(0.3), sampler)
    state = init(jax.random.key(0), POOL)
    prepared = jax.jit(parts.prepare)(state, POOL, VALID)
    _, metrics = jax.jit(parts.measured)(state, POOL, VALID, prepared)
    chosen.append(sorted(np.asarray(metrics.index).tolist()))
  # The one that scores chooses as if it were trained alone.
  assert chosen[0] == chosen[1]
