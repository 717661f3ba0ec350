"""Losses against NumPy, and a regression from start to end."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from alcurr.data import partitions
from alcurr.data.pool import make_gather
from alcurr.experiments import reference_model
from alcurr.models import from_functions
from alcurr.training import evaluation, loop, losses
from alcurr.training.run import compile_run, make_score
from alcurr.types import Images, Pool

LOGITS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
CLASSES = np.array([0, 2, 1, 1, 0], np.int32)


def test_cross_entropy_is_that_of_numpy():
  p = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
  np.testing.assert_allclose(
    losses.cross_entropy()(LOGITS, CLASSES),
    -np.log(p[np.arange(5), CLASSES]),
    rtol=1e-5,
  )


@pytest.mark.parametrize(
  ("label", "target"),
  [
    (CLASSES, np.eye(3)[CLASSES]),
    (LOGITS[::-1] * 2, LOGITS[::-1] * 2),
  ],
  ids=["classes", "numbers"],
)
def test_squared_error_is_that_of_numpy(label, target):
  np.testing.assert_allclose(
    losses.squared_error()(LOGITS, label),
    ((LOGITS - target) ** 2).mean(1),
    rtol=1e-5,
  )


def test_labels_of_another_kind_are_refused():
  with pytest.raises(ValueError, match="cross_entropy"):
    losses.cross_entropy()(LOGITS, LOGITS)
  with pytest.raises(ValueError, match="labels"):
    losses.squared_error()(LOGITS, LOGITS[:, 0])


def _linear_data(num_examples, seed):
  """Makes features, and targets that are linear in them but for noise."""
  rng = np.random.default_rng(seed)
  features = rng.normal(size=(num_examples, 6)).astype(np.float32)
  weight = np.array([3, -2, 1, 0.5, 0, -1], np.float32)
  noise = rng.normal(scale=0.5, size=num_examples)
  return features, (features @ weight + 2 + noise).astype(np.float32)


def _pool(features, target, difficulty=None, num_arms=5):
  """Makes a pool of features, with quantiles of a known difficulty."""
  if difficulty is None:
    difficulty, by_name = np.zeros(len(target), np.float32), {}
  else:
    name = "difficulty_in_pool"
    by_name = {name: partitions.PARTITIONS[name](target, difficulty, num_arms)}
  pool = Pool(
    Images(features[:, None, :, None]),
    target,
    {"difficulty": difficulty},
    by_name,
  )
  return jax.tree.map(jnp.asarray, pool)


def _run(spec, num_steps):
  model = from_functions(
    lambda key: {"w": jnp.zeros((6, 1)), "b": jnp.zeros(1)},
    lambda params, x: x.reshape(len(x), -1) @ params["w"] + params["b"],
  )
  loss = losses.squared_error()
  score = make_score(model, make_gather(), 50, "map", loss)
  run = toy.make_run(spec, batch_size=16, num_steps=num_steps)
  return run._replace(
    model=model, tx=optax.sgd(0.02), loss=loss, score=score, chunk_steps=100
  )


def _train(run, pools):
  rows = []
  plan = compile_run(run, pools)
  result = loop.train(run, plan, pools, rows.append, lambda *a: None)
  return result, rows


def _squared_errors(params, trial, features, target):
  """Returns the squared errors of a trial's parameters, by NumPy: [N]."""
  w, b = (np.asarray(params[name][trial], np.float64) for name in ("w", "b"))
  return ((features @ w + b)[:, 0] - target) ** 2


def test_a_regression_is_learned_from_arms_of_its_own_difficulty():
  """A bandit over quantiles of a reference model's errors, without classes.

  The model converges to the solution of the normal equations.
  """
  features, target = _linear_data(400, 0)
  others, expected = _linear_data(200, 1)
  valid = _pool(others, expected)
  pools = {"train": _pool(features, target), "probe": valid, "valid": valid}
  reference = _run({"name": "uniform"}, 50)
  before, _ = _train(reference, pools)
  scores, _ = reference_model.score_pools(
    reference, reference.score, before, pools
  )
  params = before.state.params
  errors = [_squared_errors(params, i, features, target) for i in (0, 1)]
  np.testing.assert_allclose(
    scores["train"],
    np.mean(errors, 0),
    rtol=1e-3,
    atol=1e-4,
  )

  pools["train"] = _pool(features, target, scores["train"])
  bandit = {
    "name": "active_bandit",
    "bandit": "softmax",
    "gain": "prediction_gain",
    "reward": "rank(window=50)",
    "partition": "difficulty_in_pool",
    "epsilon": "0.5",
    "warmup": 10,
  }
  result, rows = _train(_run(bandit, 1000), pools)
  design = np.c_[features, np.ones(len(features))].astype(np.float64)
  solution, *_ = np.linalg.lstsq(design, target, rcond=None)
  for trial in (0, 1):
    w = np.asarray(result.state.params["w"][trial])[:, 0]
    np.testing.assert_allclose(w, solution[:6], atol=0.25)
  last = rows[-1]
  error = _squared_errors(
    result.state.params, last["trial"], others, expected
  ).mean()
  assert last["valid"].keys() == {"loss"}
  np.testing.assert_allclose(last["valid"]["loss"], error, rtol=1e-4)
  assert evaluation.selection_metric(last["valid"]) == -last["valid"]["loss"]
  best = ((np.c_[others, np.ones(200)] @ solution - expected) ** 2).mean()
  assert error < 1.3 * best
  # The arms were paid, and their gains shrank.
  weight = np.asarray(result.state.sampler_state.bandit.weight)
  assert (np.abs(weight).max(1) > 0.5).all()
  gains = [row["gain"] for row in rows]
  assert np.mean(gains[:2]) > 10 * abs(np.mean(gains[-6:]))
