"""The measures of the benchmark of wrong labels, against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from benchmarks import label_issues


def test_measures():
  rng = np.random.default_rng(0)
  true = rng.integers(0, 5, 300)
  given = np.where(rng.random(300) < 0.3, (true + 1) % 5, true)
  wrong = given != true
  suspicion = rng.permutation(300) + 100 * wrong
  suspicion = suspicion.argsort().argsort()  # without ties
  found = label_issues.Found(suspicion, 0.2, np.where(wrong, true, 0), 3)
  measured = label_issues.measure(
    label_issues.Case(np.zeros((300, 1, 1)), given, true), found
  )
  chosen = suspicion >= np.sort(suspicion)[-60]
  assert measured == {
    "examples": 300,
    "auc": pytest.approx(metrics.roc_auc_score(wrong, suspicion)),
    "rate": wrong.mean(),
    "rate_found": 0.2,
    "precision": pytest.approx(metrics.precision_score(wrong, chosen)),
    "recall": pytest.approx(metrics.recall_score(wrong, chosen)),
    "suggested": 1.0,
  }


def test_flips_are_as_many_as_asked_for(quickdraw_dir):
  case = label_issues.flipped(quickdraw_dir.parent, 1500, 0.3)
  wrong = case.given != case.true
  assert wrong.mean() == pytest.approx(0.3, abs=0.05)
  assert len(case.image) == len(case.given) >= 1500
  assert {*case.given} == {*case.true}
