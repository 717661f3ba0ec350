"""Evaluation against NumPy and against metrics computed by hand."""

import jax
import numpy as np
import pytest
import toy
from sklearn import metrics

from alcurr.data.pool import make_gather
from alcurr.training import evaluation
from alcurr.training.evaluation import Scores
from alcurr.training.scoring import make_score


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
  assert evaluation.summarize(scores, np.zeros(4, np.int32)) == {
    "top1": 0.25,
    "top3": 0.75,
    "map3": pytest.approx(11 / 24),
    "loss": 1.5,
  }
  few = scores._replace(rank=scores.rank % 3, counts=np.zeros((3, 2, 4)))
  assert "top3" not in evaluation.summarize(few, np.zeros(4, np.int32))
  group = np.array([0, 0, 2, 2])
  assert evaluation.accuracy_by(scores, group) == [0.5, None, 0.0]


@pytest.mark.parametrize("shape", [(50,), (50, 3)])
def test_r2_is_that_of_scikit_learn(shape):
  rng = np.random.default_rng(0)
  target, found = rng.normal(size=(2, *shape))
  loss = ((target - found) ** 2).reshape(50, -1).mean(1)
  expected = metrics.r2_score(target, found, multioutput="variance_weighted")
  summary = evaluation.summarize(Scores(None, loss), target)
  assert summary == {
    "r2": pytest.approx(expected),
    "loss": pytest.approx(loss.mean()),
  }
  assert evaluation.selection_metric(summary) == summary["r2"]
  # Of targets that are all equal it is not defined.
  assert np.isnan(evaluation.explained(loss, np.ones(50))).all()


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


@pytest.mark.parametrize(
  ("batch_size", "num_classes"),
  [
    (64, 2),
    (64, 5),
    pytest.param(1000, 2, marks=pytest.mark.slow),
    pytest.param(1000, 5, marks=pytest.mark.slow),
  ],
)
def test_the_area_under_the_curve_is_scikit_learns(num_classes, batch_size):
  """To the error that it states, whatever the size of the batches."""
  rng = np.random.default_rng(num_classes)
  count = 701
  label = (rng.random(count) ** 2 * num_classes).astype(np.int32)
  logits = rng.normal(size=(count, num_classes)).astype(np.float32) * 2
  logits[np.arange(count), label] += 1
  counts = evaluation.start_counts(num_classes)
  for start in range(0, count, batch_size):
    index = np.arange(start, start + batch_size)
    mask, index = index < count, index.clip(max=count - 1)
    counts = evaluation.count_by_odds(counts, logits[index], label[index], mask)
  p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  given = p[:, 1] if num_classes == 2 else p
  expected = metrics.roc_auc_score(label, given, multi_class="ovr")
  area, error = evaluation.macro_auc(counts)
  assert abs(area - expected) <= error + 1e-6
  assert error < 2e-3


def test_the_area_of_certain_and_of_broken_models():
  label = np.array([0, 1] * 5)
  sure = np.where(label[:, None] == np.arange(2), 80.0, -80.0)
  mask = np.ones(10, bool)
  none = evaluation.start_counts(2)
  counts = evaluation.count_by_odds(none, sure.astype(np.float32), label, mask)
  assert evaluation.macro_auc(counts) == (1.0, 0.0)
  nan = np.full((10, 2), np.nan, np.float32)
  counts = evaluation.count_by_odds(none, nan, label, mask)
  assert evaluation.macro_auc(counts) == (0.5, 0.5)
  # A pool of one class has no area.
  counts = evaluation.count_by_odds(none, nan, np.zeros(10, int), mask)
  assert evaluation.macro_auc(counts) is None


def test_padding_is_not_counted():
  pool, model = toy.make_pool(100), toy.make_linear()
  params, _ = model.init(jax.random.key(0))
  counts = [_score(model, params, pool, size).counts for size in (7, 100)]
  assert counts[0].sum((1, 2)).tolist() == [100] * toy.NUM_CLASSES
  np.testing.assert_array_equal(*counts)
