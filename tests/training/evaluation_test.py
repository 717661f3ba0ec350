"""Evaluation against NumPy and against metrics computed by hand."""

import jax
import numpy as np
import pytest
import toy

from alcurr.data.pool import make_gather
from alcurr.training import evaluation
from alcurr.training.evaluation import Scores
from alcurr.training.run import make_score


def _score(model, params, pool, batch_size=50):
  """Returns the scores of one trial's parameters."""
  score = jax.jit(make_score(model, make_gather(), batch_size, "map"))
  params = jax.tree.map(lambda x: x[None], params)
  return jax.tree.map(lambda x: np.asarray(x[0]), score((params, {}), pool))


@pytest.mark.parametrize("batch_size", [7, 100, 1000])
def test_ranks_and_losses_equal_numpy_s(batch_size):
  pool, model = toy.make_pool(100), toy.make_linear()
  params, _ = model.init(jax.random.key(0))
  scores = _score(model, params, pool, batch_size)
  image = np.asarray(pool.source.image).reshape(100, -1) / 255.0
  logits = image @ np.asarray(params["weight"])
  label = np.asarray(pool.label)
  order = np.argsort(-logits, axis=1, kind="stable")
  rank = np.argmax(order == label[:, None], axis=1)
  np.testing.assert_array_equal(scores.rank, rank)
  p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  np.testing.assert_allclose(
    scores.loss, -np.log(p[np.arange(100), label]), rtol=1e-5
  )


def test_metrics_by_hand():
  """Ranks 0, 2, 1 and 5: MAP@3 is (1 + 1/3 + 1/2 + 0) / 4."""
  scores = Scores(np.array([0, 2, 1, 5]), np.array([0.5, 1.0, 1.5, 3.0]))
  assert evaluation.summarize(scores) == {
    "top1": 0.25,
    "top3": 0.75,
    "map3": pytest.approx(11 / 24),
    "loss": 1.5,
  }
  group = np.array([0, 0, 2, 2])
  assert evaluation.accuracy_by(scores, group) == [0.5, None, 0.0]


def test_equal_logits_do_not_count_as_right():
  """A constant model is right by chance only."""
  pool = toy.make_pool(200)
  model = toy.make_linear()
  flat = {"weight": np.zeros((16, 4)), "bias": np.zeros(4)}
  scores = _score(model, flat, pool)
  np.testing.assert_array_equal(scores.rank, pool.label)


def test_nan_is_never_right():
  pool = toy.make_pool(50)
  flat = {"weight": np.full((16, 4), np.nan), "bias": np.zeros(4)}
  assert (_score(toy.make_linear(), flat, pool).rank >= 4).all()
