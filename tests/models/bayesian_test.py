"""Gaussian weights against NumPy, and their training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy
from gaussian_oracle import kl_of, softplus

from alcurr.data.pool import make_gather
from alcurr.models import bayesian_cnn, cnn, from_functions, mean_field
from alcurr.training import chunks, optimizers, step

SHAPE = (8, 8, 1)
SMALL = {"input_shape": SHAPE, "num_classes": 3, "width": 0.1}


def _perturbed(params):
  """Returns other parameters, none of them at a special value."""
  leaves, structure = jax.tree.flatten(params)
  rng = np.random.default_rng(0)
  return structure.unflatten(
    [x + 0.3 * rng.standard_normal(x.shape).astype(np.float32) for x in leaves]
  )


@pytest.mark.parametrize("learned_prior", [True, False])
def test_the_penalty_is_the_closed_form_of_numpy(learned_prior):
  model = bayesian_cnn(**SMALL, prior_std=0.3, learned_prior=learned_prior)
  params, _ = model.init(jax.random.key(0))
  assert ("prior" in params) == learned_prior
  for tree in (params, _perturbed(params)):
    np.testing.assert_allclose(
      jax.jit(model.penalty)(tree), kl_of(tree, prior_std=0.3), rtol=1e-5
    )


def test_weights_that_are_the_prior_have_no_complexity():
  model = mean_field(toy.make_linear(), initial_std=0.2, prior_std=0.2)
  params, _ = model.init(jax.random.key(0))
  params = params | {
    name: x._replace(mean=jnp.zeros_like(x.mean))
    for name, x in params.items()
    if name != "prior"
  }
  np.testing.assert_allclose(model.penalty(params), 0, atol=1e-4)


def test_evaluation_uses_the_means_alone():
  """The logits are those of the plain network with these weights."""
  model, plain = bayesian_cnn(**SMALL), cnn(**SMALL)
  image = np.random.default_rng(0).random((4, *SHAPE), np.float32)
  params, state = model.init(jax.random.key(0))
  weights, _ = plain.init(jax.random.key(0))
  for key in (1, 2):
    logits, _ = model.apply(
      jax.random.key(key), params, state, image, train=False
    )
    expected, _ = plain.apply(
      jax.random.key(9), weights, {}, image, train=False
    )
    np.testing.assert_array_equal(logits, expected)
  np.testing.assert_array_equal(
    model.features(params, state, image), plain.features(weights, {}, image)
  )


def test_training_draws_weights_of_their_mean_and_deviation():
  """The outputs of the identity are the weights themselves."""
  model = mean_field(
    from_functions(
      lambda key: {"a": jnp.array([1.0, -2.0]), "b": jnp.array([0.5])},
      lambda w, image: jnp.concatenate([w["a"], w["b"]])[None],
    ),
    initial_std=0.5,
  )
  params, state = model.init(jax.random.key(0))
  params["a"] = params["a"]._replace(rho=jnp.array([-1.0, 1.0]))
  keys = jax.random.split(jax.random.key(1), 20_000)
  draw = lambda key: model.apply(key, params, state, (), train=True)[0][0]  # noqa: E731
  weights = np.asarray(jax.vmap(draw)(keys), np.float64)
  std = softplus([-1, 1, np.log(np.expm1(0.5))])
  np.testing.assert_allclose(weights.mean(0), [1, -2, 0.5], atol=5 / 140)
  np.testing.assert_allclose(weights.std(0), std, rtol=0.03)
  off = np.corrcoef(weights.T) - np.eye(3)
  assert np.abs(off).max() < 5 / 140


def _train(model, tx, num_steps, pool, trials_by="map"):
  sampler = toy.make_sampler("uniform", "x", batch_size=16, num_steps=num_steps)
  steps = step.make_steps(model, tx, sampler, make_gather())
  init = jax.vmap(step.make_init(model, tx, sampler), (0, None))
  keys = jnp.stack([jax.random.key(seed) for seed in (0, 1)])
  chunk = jax.jit(chunks.make_train_chunk(steps, num_steps, trials_by))
  start = init(keys, pool)
  with jax.debug_nans(True):
    return start, *chunk(start, jnp.int32(num_steps), pool, pool)


def test_a_step_descends_on_the_mean_loss_and_the_penalty_over_n():
  """Without a gradient of the loss, only the KL moves the weights."""
  silent = from_functions(
    lambda key: {"w": jnp.linspace(-1, 1, 4)},
    lambda w, image: jnp.zeros((image.shape[0], 4)),
  )
  model = mean_field(silent, initial_std=0.5, prior_std=0.2)
  pool = toy.make_pool(80)
  start, after, metrics = _train(model, optax.sgd(0.3), 1, pool)
  params = jax.tree.map(lambda x: x[0], start.params)
  grads = jax.grad(model.penalty)(params)
  expected = jax.tree.map(lambda x, g: x - 0.3 * g / 80, params, grads)
  new = jax.tree.map(lambda x: x[0], after.params)
  for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
  # The loss that is reported is without it.
  np.testing.assert_allclose(metrics.loss, np.log(4), rtol=1e-6)


@pytest.mark.parametrize(
  "trials_by", ["map", pytest.param("vmap", marks=pytest.mark.slow)]
)
def test_it_learns_and_moves_its_prior(trials_by):
  model = mean_field(toy.make_linear())
  start, after, metrics = _train(
    model, optax.adam(0.05), 150, toy.make_pool(), trials_by
  )
  assert (metrics.loss[:, -20:].mean(1) < 0.7 * np.log(4)).all()
  assert (start.params["prior"].log_std != after.params["prior"].log_std).all()


def test_the_classifier_keeps_its_name_among_the_parameters():
  """Otherwise `backbone_lr_multiplier` would not find it."""
  model = bayesian_cnn(**SMALL)
  params, _ = model.init(jax.random.key(0))
  config = {
    "name": "sgd",
    "learning_rate": 1.0,
    "schedule": "constant",
    "backbone_lr_multiplier": 0.0,
  }
  tx = optimizers.get_optimizer(config, 1)
  ones = jax.tree.map(jnp.ones_like, params)
  updates, _ = tx.update(ones, tx.init(params), params)
  moved = {name for name, x in updates.items() if np.any(jax.tree.leaves(x)[0])}
  assert len(moved) == 1


def test_arguments_out_of_range_are_refused():
  for name in ("initial_std", "prior_std"):
    with pytest.raises(ValueError, match=name):
      bayesian_cnn(**SMALL, **{name: 0.0})
  with pytest.raises(ValueError, match="penalty"):
    mean_field(bayesian_cnn(**SMALL))
