"""Figures show the numbers of metrics.jsonl."""

import numpy as np
import pandas as pd

from alcurr.report import figures


def _table(trials=2):
  rows = [
    {
      "step": step,
      "examples_seen": 10 * step,
      "trial": trial,
      "policy": [0.2, 0.3 + 0.1 * trial, 0.5 - 0.1 * trial],
      "valid": {"top1": 0.5 + 0.1 * trial + step, "loss": 1.0}
      if step % 2 == 0
      else None,
    }
    for step in (1, 2, 3, 4)
    for trial in range(trials)
  ]
  return pd.DataFrame(rows)


def test_learning_curves_are_means_over_trials():
  figure = figures.learning_curves({"a": _table(), "b": _table(1)})
  axes = figure.axes
  assert [axis.get_ylabel() for axis in axes] == [
    *("top-1 accuracy on valid", "loss on valid")
  ]
  line = axes[0].get_lines()[0]
  np.testing.assert_allclose(line.get_xdata(), [20, 40])
  np.testing.assert_allclose(line.get_ydata(), [2.55, 4.55])
  assert [t.get_text() for t in figure.legends[0].get_texts()] == ["a", "b"]


def test_policy_map_is_the_mean_policy_over_time():
  figure = figures.policy_map(_table(), "a")
  mesh = figure.axes[0].collections[0]
  grid = np.asarray(mesh.get_array()).reshape(3, 4)
  np.testing.assert_allclose(grid, np.tile([[0.2], [0.35], [0.45]], (1, 4)))
