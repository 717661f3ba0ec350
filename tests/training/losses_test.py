"""Losses against NumPy, and a regression from start to end."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import toy

from alcurr.data import partitions
from alcurr.data.pool import make_gather
from alcurr.experiments import reference_model
from alcurr.models import from_functions
from alcurr.training import evaluation, loop, losses
from alcurr.training.run import compile_run
from alcurr.training.scoring import make_score
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


# Over all examples: confident, wrong, and neither.
SHARP = np.concatenate([LOGITS, 30 * LOGITS, np.zeros((5, 3), np.float32)])
LABELS = np.tile(CLASSES, 3)


def _log_softmax(logits):
  logits = logits.astype(np.float64)
  logits = logits - logits.max(1, keepdims=True)
  return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def _log_p(logits, label):
  return _log_softmax(logits)[np.arange(len(label)), label]


@pytest.mark.parametrize("amount", [0.0, 0.1, 1.0])
def test_label_smoothing_is_that_of_numpy_and_optax(amount):
  found = losses.label_smoothing(amount=amount)(SHARP, LABELS)
  expected = -(1 - amount) * _log_p(SHARP, LABELS)
  expected -= amount * _log_softmax(SHARP).mean(1)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
  smooth = optax.smooth_labels(jax.nn.one_hot(LABELS, 3), amount)
  np.testing.assert_allclose(
    found, optax.softmax_cross_entropy(SHARP, smooth), rtol=1e-5, atol=1e-5
  )


@pytest.mark.parametrize("q", [0.3, 0.7, 1.0])
def test_gce_is_that_of_numpy(q):
  p = np.exp(_log_p(SHARP, LABELS))
  found = losses.gce(q=q)(SHARP, LABELS)
  np.testing.assert_allclose(found, (1 - p**q) / q, rtol=1e-5, atol=2e-6)


def test_the_gradient_of_gce_is_that_of_the_cross_entropy_times_p_to_the_q():
  def grad(loss):
    return jax.grad(lambda logits: loss(logits, LABELS).sum())(SHARP)

  p = np.exp(_log_p(SHARP, LABELS))[:, None]
  np.testing.assert_allclose(
    grad(losses.gce(q=0.7)),
    p**0.7 * grad(losses.softmax_cross_entropy),
    rtol=1e-4,
    atol=1e-6,
  )


def _z(num=4000):
  """Returns arguments from the branch point on, many of them near it."""
  above = np.concatenate([np.logspace(-7, 1, num), np.logspace(1, 37, num)])
  z = (above - 1 / np.e).astype(np.float32)
  return z[z.astype(np.float64) > -1 / np.e]


def test_lambert_w_is_that_of_scipy():
  """Near the branch point too, where W depends on the last digits of z."""
  z = _z()
  expected = scipy.special.lambertw(z.astype(np.float64)).real
  found = jax.jit(losses.lambert_w)(z)
  np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-7)
  assert (z < -0.36787).sum() > 100


def test_lambert_w_at_the_branch_point_is_minus_one():
  """SciPy's is NaN there."""
  with jax.debug_nans(True):
    found = losses.lambert_w(jnp.array([-1 / np.e, -1, -1e30], jnp.float32))
  np.testing.assert_allclose(found, -1, atol=1e-3)
  assert (found[1:] == -1).all()


def _superloss(loss, tau, lam):
  """Minimises (l - τ) σ + λ log² σ by Newton's method on log σ."""
  log_sigma = np.zeros_like(loss)
  # The minimum solves (l - τ) σ + 2 λ log σ = 0; both terms grow with log σ
  # above the branch, and the clamp has log σ = 1.
  excess = np.maximum(loss - tau, -2 * lam / np.e)
  for _ in range(200):
    sigma = np.exp(log_sigma)
    value, slope = excess * sigma + 2 * lam * log_sigma, excess * sigma
    log_sigma -= np.where(
      slope + 2 * lam > 1e-9, value / np.maximum(slope + 2 * lam, 1e-9), 0
    )
  log_sigma = np.where(loss - tau <= -2 * lam / np.e, 1, log_sigma)
  return (loss - tau) * np.exp(log_sigma) + lam * log_sigma**2, log_sigma


@pytest.mark.parametrize("tau", [None, 0.5, 3.0])
@pytest.mark.parametrize("lam", [0.25, 1.0, 100.0])
def test_superloss_is_the_minimum_over_the_confidence(tau, lam):
  """Its gradient is the confidence times that of the cross-entropy."""
  loss = losses.superloss(tau=tau, regularization=lam)

  def value(loss):
    return lambda logits: loss(logits, LABELS).sum()

  plain, threshold = -_log_p(SHARP, LABELS), np.log(3) if tau is None else tau
  expected, log_sigma = _superloss(plain, threshold, lam)
  with jax.debug_nans(True):
    found, grad = loss(SHARP, LABELS), jax.grad(value(loss))(SHARP)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
  of_plain = jax.grad(value(losses.softmax_cross_entropy))(SHARP)
  np.testing.assert_allclose(
    grad, np.exp(log_sigma)[:, None] * of_plain, rtol=2e-3, atol=1e-5
  )


def test_superloss_of_easy_examples_is_clamped_and_finite():
  """The confidence is e, at the branch point and below."""
  logits = jnp.array([[40.0, 0.0, 0.0]], jnp.float32)
  label = jnp.zeros(1, jnp.int32)
  with jax.debug_nans(True):
    found = losses.superloss(regularization=1e-3)(logits, label)
  np.testing.assert_allclose(found, -np.e * np.log(3) + 1e-3, rtol=1e-5)


def test_arguments_out_of_range_are_refused():
  for make, argument, value in (
    (losses.label_smoothing, "amount", 1.5),
    (losses.gce, "q", 0.0),
    (losses.superloss, "regularization", 0.0),
    (losses.superloss, "tau", -1.0),
  ):
    with pytest.raises(ValueError, match=argument):
      make(**{argument: value})


def test_the_metric_is_of_the_kind_of_labels():
  np.testing.assert_array_equal(
    losses.metric(LOGITS, CLASSES), losses.cross_entropy()(LOGITS, CLASSES)
  )
  np.testing.assert_array_equal(
    losses.metric(LOGITS, LOGITS[::-1]),
    losses.squared_error()(LOGITS, LOGITS[::-1]),
  )


def test_labels_of_another_kind_are_refused():
  with pytest.raises(ValueError, match="classes"):
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


@pytest.mark.slow  # regression_test.py trains on targets, in less time
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
  assert last["valid"].keys() == {"loss", "r2"}
  np.testing.assert_allclose(last["valid"]["loss"], error, rtol=1e-4)
  r2 = 1 - error / np.var(expected)
  assert evaluation.selection_metric(last["valid"]) == pytest.approx(r2, 1e-4)
  best = ((np.c_[others, np.ones(200)] @ solution - expected) ** 2).mean()
  assert error < 1.3 * best
  # The arms were paid, and their gains shrank.
  weight = np.asarray(result.state.sampler_state.bandit.weight)
  assert (np.abs(weight).max(1) > 0.5).all()
  gains = [row["gain"] for row in rows]
  assert np.mean(gains[:2]) > 10 * abs(np.mean(gains[-6:]))
