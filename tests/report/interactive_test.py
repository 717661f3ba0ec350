"""Interactive figures show the numbers of their tables, names escaped."""

import numpy as np
import pandas as pd

from alcurr.report import interactive
from alcurr.report.paper_figures import ArmLabels
from alcurr.report.style import styles

NAME = 'a<b>&"c"'
ESCAPED = 'a&lt;b&gt;&amp;"c"'


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


def _accuracy():
  means = _means()
  return interactive.accuracy(means, styles(means["sampler"].unique()))


def test_accuracy_is_lines_with_bands():
  line, band, other, flat = _accuracy().data
  assert list(line.y) == [0.25, 0.5]
  assert list(band.x) == [32, 64, 64, 32]
  assert list(band.y) == [0.3125, 0.625, 0.375, 0.1875]
  assert other.name == ESCAPED
  assert list(flat.y) == [0.125, 0.75, 0.75, 0.125]  # a single trial
  assert band.legendgroup == line.legendgroup == "uniform"
  assert line.line.color != other.line.color


def test_buttons_move_lines_and_bands_together():
  costs, metrics = _accuracy().layout.updatemenus
  labels = [button.label for button in costs.buttons]
  assert labels == ["examples", "FLOPs", "seconds"]
  moved = costs.buttons[2].args[0]["x"]
  assert moved == [[5, 10], [5, 10, 10, 5], [7, 14], [7, 14, 14, 7]]
  assert costs.buttons[2].args[1]["xaxis.title.text"] == "seconds of training"
  shown = metrics.buttons[1].args[0]["y"]
  assert shown[0] == [0.5, 0.625]
  assert shown[3] == [0.75, 1.0, 0.75, 0.75]


def test_a_cost_that_is_not_known_has_no_button():
  means = _means().assign(flops=np.nan)
  figure = interactive.accuracy(means, styles(means["sampler"].unique()))
  labels = [button.label for button in figure.layout.updatemenus[0].buttons]
  assert labels == ["examples", "seconds"]


def test_losses_are_the_tables_without_the_gaps():
  table = pd.DataFrame(
    {
      "sampler": ["a"] * 3,
      "examples_seen": [1, 2, 3],
      "train_loss": [3.0, 2.0, 1.0],
      "valid_loss": [np.nan, 2.5, 1.5],
    }
  )
  train, valid = interactive.losses(table, styles("a")).data
  assert list(train.y) == [3, 2, 1]
  assert list(valid.x) == [2, 3]
  assert list(valid.y) == [2.5, 1.5]


def test_boxes_are_the_quantiles():
  table = pd.DataFrame(
    {
      "class": [NAME],
      "count": [9],
      "q05": [1.0],
      "q25": [2.0],
      "q50": [3.0],
      "q75": [4.0],
      "q95": [5.0],
      "mean": [3.5],
    }
  )
  (box,) = interactive.difficulty(table).data
  fences = (box.lowerfence, box.q1, box.median, box.q3, box.upperfence)
  assert [v[0] for v in fences] == [1, 2, 3, 4, 5]
  assert box.y[0] == ESCAPED


def test_the_heat_map_has_a_picture_at_each_row():
  table = pd.DataFrame([[0.25, 0.75], [0.5, 0.5]], index=[32, 64])
  strips = [np.full((4, 9, 3), 9, np.uint8)] * 2
  figure = interactive.policy(table, NAME, ArmLabels(strips))
  (heat,) = figure.data
  np.testing.assert_allclose(heat.z, [[0.25, 0.5], [0.75, 0.5]])
  assert list(heat.x) == [0, 32, 64]
  assert figure.layout.title.text == ESCAPED
  assert [image.y for image in figure.layout.images] == [1, 2]
  for image in figure.layout.images:
    assert image.source.startswith("data:image/png;base64,")


def test_arms_have_their_names():
  table = pd.DataFrame([[0.25, 0.75]], index=[32])
  arms = ArmLabels(None, [NAME, "b"], "class")
  axis = interactive.policy(table, "x", arms).layout.yaxis
  assert list(axis.ticktext) == [ESCAPED, "b"]
  assert axis.title.text == "class"


def test_a_piece_of_a_page_cannot_be_left():
  """Neither a script's end in a name nor a button that sends data away."""
  means = _means().replace(NAME, "</script><script>alert(1)</script>")
  figure = interactive.accuracy(means, styles(means["sampler"].unique()))
  text = interactive.to_html(figure, "one")
  assert text.count("</script>") == text.count("<script") == 1
  assert '"showSendToCloud": false' in text
  assert "src=" not in text
