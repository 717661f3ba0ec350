"""Scorers of difficulty against NumPy."""

import numpy as np

from alcurr.samplers import scores
from alcurr.training import losses

LOGITS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
LABEL = np.array([0, 1, 2, 3, 3, 0], np.int32)


def test_el2n_is_how_far_the_probabilities_are_off():
  p = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
  expected = np.sqrt(((p - np.eye(4)[LABEL]) ** 2).sum(1))
  found = scores.SCORERS["el2n"]()(LOGITS, LABEL)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_loss_is_what_evaluations_are_measured_by():
  loss = losses.squared_error()
  assert scores.SCORERS["loss"](loss=loss) is loss


def test_the_margin_is_to_the_largest_other_logit():
  expected = [
    max(z for j, z in enumerate(row) if j != y) - row[y]
    for row, y in zip(LOGITS, LABEL, strict=True)
  ]
  found = scores.SCORERS["margin"]()(LOGITS, LABEL)
  np.testing.assert_allclose(found, expected, rtol=1e-6)
