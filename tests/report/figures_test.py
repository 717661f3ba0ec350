"""Figures show the numbers of their tables."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.figure import Figure
from PIL import Image

from alcurr.report import (
  curves,
  drawings,
  figures,
  page,
  scales,
  sections,
  style,
)
from alcurr.report.gallery import read_gallery
from alcurr.report.style import styles


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


def _means():
  return pd.DataFrame(
    {
      "sampler": ["a", "a", "b"],
      "trials": [2, 2, 1],
      "examples_seen": [32, 64, 32],
      "flops": [1.0, 2.0, 3.0],
      "seconds": [5.0, 6.0, 7.0],
      "top1": [0.25, 0.5, 0.75],
      "top1_std": [0.125, 0.25, np.nan],
      "top3": [0.5, 0.75, 1.0],
      "top3_std": [0.0, 0.0, np.nan],
    }
  )


def test_learning_curves_have_a_panel_per_metric_and_a_line_per_sampler():
  figure = figures.learning_curves(
    _means(), styles("ab"), curves.measured(_means())
  )
  assert [axis.get_ylabel() for axis in figure.axes] == [
    *("valid top-1", "valid top-3")
  ]
  line, other = figure.axes[0].get_lines()
  np.testing.assert_allclose(line.get_xdata(), [32, 64])
  np.testing.assert_allclose(line.get_ydata(), [0.25, 0.5])
  np.testing.assert_allclose(other.get_ydata(), [0.75])
  band = figure.axes[0].collections[0].get_paths()[0].vertices
  assert {(32, 0.125), (32, 0.375), (64, 0.25), (64, 0.75)} <= set(
    map(tuple, band.tolist())
  )
  assert [t.get_text() for t in figure.legends[0].get_texts()] == ["a", "b"]
  assert "1 to 2 trials" in figure.get_suptitle()


def test_learning_curves_have_a_row_per_metric_and_a_column_per_cost():
  costs = ("examples_seen", "flops", "seconds")
  figure = figures.learning_curves(
    _means(), styles("ab"), curves.measured(_means()), costs
  )
  lines = [axis.get_lines()[0] for axis in figure.axes]
  starts = [list(line.get_xdata()) for line in lines]
  assert starts == 2 * [[32, 64], [1, 2], [5, 6]]
  assert list(lines[0].get_ydata()) == [0.25, 0.5]
  assert list(lines[5].get_ydata()) == [0.5, 0.75]


def test_policy_map_is_the_mean_policy_over_time():
  figure = figures.policy_map(curves.policy_curve(_table()), "a")
  mesh = figure.axes[0].collections[0]
  grid = np.asarray(mesh.get_array()).reshape(3, 4)
  np.testing.assert_allclose(grid, np.tile([[0.2], [0.35], [0.45]], (1, 4)))


def test_differences_are_the_intervals_of_the_summary():
  """The first sampler on top, in points; the baseline is the line at zero."""
  summary = pd.DataFrame(
    {
      "sampler": ["u", "a", "b", "gone"],
      "baseline": ["u"] * 4,
      "top1": [0.5, 0.6, 0.4, np.nan],
      "top1_difference": [np.nan, 0.1, -0.1, np.nan],
      "top1_low": [np.nan, 0.05, -0.3, np.nan],
      "top1_high": [np.nan, 0.15, 0.2, np.nan],
    }
  )
  (axis,) = figures.differences(summary, styles(summary["sampler"])).axes
  names = [label.get_text() for label in axis.get_yticklabels()]
  assert names == ["b", "a"]
  zero, *lines = axis.get_lines()
  assert set(zero.get_xdata()) == {0}
  shown = [value for line in lines for value in line.get_xdata()]
  np.testing.assert_allclose(shown, [-30, 20, -10, 5, 15, 10])
  alone = summary[summary["sampler"] == "u"]
  assert figures.differences(alone, styles("u")) is None


def test_policies_of_one_page_have_one_color_scale(make_experiment):
  """The first would end at 1/2, twice the uniform; the other ends at 0.9."""
  flat = pd.DataFrame([[0.25] * 4, [0.3, 0.3, 0.2, 0.2]], [32, 64])
  steep = pd.DataFrame([[0.25] * 4, [0.9, 0.1, 0.0, 0.0]], [32, 64])
  assert figures.scale_end([flat]) == 0.5
  assert figures.scale_end([flat, steep]) == 0.9
  workdir = make_experiment()
  made = sections.make_sections(workdir, page.read_summary(workdir))
  ends = [
    section.figure.axes[0].collections[0].norm.vmax
    for section in made
    if section.stem.startswith("policy_")
  ]
  # Its last policy is of one arm.
  assert ends == [1.0]


def test_only_charts_without_pictures_or_color_scales_are_recolored():
  policy = figures.policy_map(curves.policy_curve(_table()), "a")
  lines = figures.learning_curves(_means(), styles("ab"), {"top1": "top-1"})
  assert style.kind(policy) == "picture"
  assert style.kind(lines) == "chart"


def test_policy_map_shows_examples_next_to_the_arms():
  strips = [np.full((4, 8, 3), 50 * k, np.uint8) for k in range(3)]
  figure = figures.policy_map(
    curves.policy_curve(_table()), "a", figures.ArmLabels(strips)
  )
  images = figure.axes[1].get_images()
  assert [image.get_array()[0, 0, 0] for image in images] == [0, 50, 100]
  # The k-th is at the height of arm k.
  for k, image in enumerate(images, start=1):
    low, high = image.get_extent()[2:]
    assert (low + high) / 2 == k


def test_policy_map_names_the_classes():
  arms = figures.ArmLabels(None, ["a", "_b", "$c"], "class")
  axis = figures.policy_map(curves.policy_curve(_table()), "$x_", arms).axes[0]
  labels = [label.get_text() for label in axis.get_yticklabels()]
  assert labels == ["a", " _b", r"\$c"]
  assert axis.get_ylabel() == "class"


def test_a_sampler_far_behind_does_not_stretch_the_axis():
  """Losses are cut above, leads below, and the figure says whose."""
  table = pd.DataFrame(
    {
      "sampler": np.repeat(["a", "b", "c"], 2),
      "examples_seen": [1, 2] * 3,
      "train_loss": [4.0, 3.0, 4.0, 2.0, 4.0, 90.0],
      "valid_loss": [np.nan, 3.5, np.nan, 2.5, np.nan, 80.0],
    }
  )
  figure = figures.loss_curves(table)
  low, high = figure.axes[0].get_ylim()
  assert 0 < low < 2 and 4 < high < 8
  assert figure.get_suptitle().endswith(": c")
  figure = figures.loss_curves(table[table["sampler"] != "c"])
  assert not figure.get_suptitle()
  summary = pd.DataFrame(
    {
      "sampler": ["u", "a", "b", "c"],
      "baseline": ["u"] * 4,
      "top1": [0.5, 0.51, 0.5, 0.02],
      "top1_difference": [np.nan, 0.01, 0.0, -0.48],
      "top1_low": [np.nan, 0.0, -0.01, -0.5],
      "top1_high": [np.nan, 0.02, 0.01, -0.46],
    }
  )
  (axis,) = figures.differences(summary, styles("uabc")).axes
  low, high = axis.get_xlim()
  assert -6 < low < -1 and 2 < high < 3
  assert axis.get_title().endswith(": c")


def test_a_sampler_far_ahead_is_shown():
  assert scales.shown_range({"a": -1.0, "b": -2.0, "c": -1.5}, 40.0) is None
  assert scales.shown_range({"a": -1.0}, 1.0) is None
  assert scales.shown_range({"a": np.nan, "b": 0.0, "c": 0.0}, 0.0) is None


def test_losses_are_a_panel_each():
  table = pd.DataFrame(
    {
      "sampler": ["a", "a", "b", "b"],
      "examples_seen": [1, 2, 1, 2],
      "train_loss": [4.0, 3.0, 2.0, 1.0],
      "valid_loss": [np.nan, 3.5, np.nan, 1.5],
    }
  )
  first, second = figures.loss_curves(table).axes
  train, valid = second.get_lines()
  assert (first.get_title(), second.get_title()) == ("a", "b")
  assert list(train.get_ydata()) == [2, 1]
  assert list(valid.get_ydata()) == [1.5]


def test_twenty_samplers_look_different():
  looks = styles(map(str, range(20)))
  assert len({(look.color, look.line) for look in looks.values()}) == 20
  assert len({(look.color, look.dash) for look in looks.values()}) == 20


def test_a_montage_is_ink_on_white_in_rows():
  image = np.zeros((3, 2, 2, 1), np.uint8)
  image[1] = 255
  grid = drawings.montage(image, columns=2)
  assert grid.shape == (8, 8, 3)
  expected = np.full((8, 8), 255)
  expected[1:3, 5:7] = 0  # the second image, within its border
  np.testing.assert_array_equal(grid[..., 0], expected)


def test_figures_of_the_gallery_show_its_numbers(experiment):
  gallery = read_gallery(experiment)
  table = drawings.difficulty_table(gallery)
  # Class v of 4 is v, v + 4, ..., v + 76; the easiest first.
  assert table["q50"].tolist() == [38, 39, 40, 41]
  axis = drawings.difficulty_by_class(table).axes[0]
  names = [label.get_text() for label in axis.get_yticklabels()]
  assert names[2] == r"\$x_1"
  shown = drawings.drawings_table(gallery, ("least", "most"), [2])
  assert shown["index"].tolist() == [*range(2, 34, 4), *range(78, 46, -4)]
  assert shown["difficulty"].tolist() == shown["index"].tolist()
  pair = [gallery.info["hardest"], gallery.info["easiest"]]
  axes = drawings.draw_classes(gallery, {"random": "some"}, pair).axes
  titles = [axis.get_ylabel() for axis in axes]
  assert titles == ["plain", "<script>alert(1)</script>"]


def test_runs_evaluated_once_have_no_accuracy_curves(make_experiment):
  def stems(workdir):
    made = sections.make_sections(workdir, page.read_summary(workdir))
    return {section.stem for section in made if section.figure is not None}

  workdir = make_experiment()
  accuracies = {"learning_curves", "accuracy_against_cost"}
  before = stems(workdir)
  assert accuracies <= before
  for path in workdir.glob("runs/*/metrics.jsonl"):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    last = max(row["step"] for row in rows)
    for row in rows:
      if row["step"] < last:
        row.pop("valid", None)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  assert stems(workdir) == before - accuracies


def test_data_of_one_class_have_no_sections_about_classes(make_experiment):
  workdir = make_experiment()
  path = workdir / "gallery.json"
  info = json.loads(path.read_text())
  path.write_text(json.dumps(info | {"easiest": info["hardest"]}))
  made = sections.make_sections(workdir, page.read_summary(workdir))
  stems = {section.stem for section in made}
  assert "least_and_most" in stems
  assert not {"hard_and_easy", "difficulty_by_class"} & stems


def test_a_notebook_shows_a_figure_as_it_is():
  """IPython, without the backend of `%matplotlib inline`, shows an image."""
  figure = figures.learning_curves(_means(), styles("ab"), {"top1": "top-1"})
  shown, sizes = DisplayFormatter().format(figure)
  with Image.open(io.BytesIO(shown["image/png"])) as image:
    pixels = image.size
  size = sizes["image/png"]
  assert 300 < size["width"] < pixels[0]
  ratio = size["height"] / size["width"]
  assert ratio == pytest.approx(pixels[1] / pixels[0], rel=0.02)


def test_characters_without_a_font_are_told_of_once(caplog):
  figure = Figure()
  figure.suptitle(style.plain("cat \u2603 \U000e0041"))
  for _ in range(2):
    style.save(figure, io.BytesIO())
  (record,) = caplog.records
  assert "\\U000e0041" in record.getMessage()
  assert "\u2603" not in record.getMessage()  # matplotlib's own font has it


def test_names_are_short_and_plain():
  assert style.plain("_base") == " _base"
  assert style.plain("a\nb$") == r"a b\$"
  short = style.plain("a" * 300 + "b")
  assert len(short) == 40 and short[0] == "a" and short[-1] == "b"
