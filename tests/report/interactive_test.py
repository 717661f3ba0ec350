"""The interactive figure shows the numbers of its table, names escaped."""

import numpy as np
import pandas as pd

from alcurr.report import interactive
from alcurr.report.style import styles

NAME = 'a<b>&"c"'


def _means():
  rows = {
    "sampler": ["uniform", "uniform", NAME, NAME],
    "examples_seen": [32, 64, 32, 64],
    "flops": [1.0, 2.0, 3.0, 6.0],
    "seconds": [5.0, 10.0, 7.0, 14.0],
    "top1": [0.25, 0.5, 0.125, 0.75],
    "top1_std": [0.0625, 0.125, np.nan, np.nan],
    "top3": [0.5, 0.625, 0.75, 0.875],
    "top3_std": [0.0, 0.0, 0.0, 0.125],
  }
  return pd.DataFrame(rows)


def _accuracy(means):
  return interactive.accuracy(means, styles(means["sampler"].unique()))


def test_accuracy_is_lines_with_bands():
  line, band, other, flat = _accuracy(_means()).data
  assert list(line.y) == [0.25, 0.5]
  assert list(band.x) == [32, 64, 64, 32]
  assert list(band.y) == [0.3125, 0.625, 0.375, 0.1875]
  assert other.name == 'a&lt;b&gt;&amp;"c"'
  assert list(flat.y) == [0.125, 0.75, 0.75, 0.125]  # a single trial
  assert band.legendgroup == line.legendgroup == "uniform"
  assert line.line.color != other.line.color


def test_buttons_move_lines_and_bands_together():
  costs, metrics = _accuracy(_means()).layout.updatemenus
  labels = [button.label for button in costs.buttons]
  assert labels == ["examples", "FLOPs", "seconds"]
  moved = costs.buttons[2].args[0]["x"]
  assert moved == [[5, 10], [5, 10, 10, 5], [7, 14], [7, 14, 14, 7]]
  assert costs.buttons[2].args[1]["xaxis.title.text"] == "seconds"
  shown = metrics.buttons[1].args[0]["y"]
  assert shown[0] == [0.5, 0.625]
  assert shown[3] == [0.75, 1.0, 0.75, 0.75]


def test_an_unknown_cost_has_no_button():
  figure = _accuracy(_means().assign(flops=np.nan))
  labels = [button.label for button in figure.layout.updatemenus[0].buttons]
  assert labels == ["examples", "seconds"]


def test_a_single_metric_has_no_button():
  means = _means().drop(columns=["top3", "top3_std"])
  (costs,) = _accuracy(means).layout.updatemenus
  assert len(costs.buttons) == 3


def test_names_and_buttons_are_harmless():
  """No name ends the script, and no button sends data away."""
  means = _means().replace(NAME, "</script><script>alert(1)</script>")
  text = interactive.to_html(_accuracy(means), "one")
  assert text.count("</script>") == text.count("<script") == 1
  assert '"showSendToCloud": false' in text
  assert "src=" not in text
