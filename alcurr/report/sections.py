"""The sections of an experiment's report, in the order of the page."""

import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure

from alcurr.core import files
from alcurr.report import (
  best_setting,
  curves,
  drawings,
  factorial,
  figures,
  formatting,
  interactive,
  paper,
  regret,
  tables,
)
from alcurr.report.gallery import read_gallery
from alcurr.report.style import styles

# Tables for some experiments only: stem -> (title, module).
OPTIONAL = {
  "best_setting": ("Each sampler at its best setting", best_setting),
  "regret": ("Regret to the best fixed policy", regret),
  "effects": ("Effects of the factors", factorial),
}

_SUMMARY = (
  "Accuracy on the test pool in percent: mean ± sample standard deviation over "
  "trials; the paired difference to the baseline in points, with its 95 % "
  "bootstrap interval over trials and test examples; and the sample variance "
  "over trials of accuracies in [0, 1]."
)
_DIVERGED = (
  " Diverged trials, whose numbers are no longer finite, are excluded from "
  "every mean, interval and figure; results.csv has the step of each."
)
_PAPER = (
  "The paper's numbers are means of three trials on the same 1,000 validation "
  "images, with a binomial standard error of about 0.95 points each."
)
_CURVES = "Mean over trials, with a band of one sample standard deviation."
_CHART = (
  " Click a name in the legend to hide it, double-click to show it alone. "
  "FLOPs and seconds are those of one trial's training, without the scoring."
)
_LOSSES = (
  "Means over trials: the training loss, of the examples that the sampler "
  "chose, and the loss on the valid pool."
)
_EXPOSURE = (
  "The share of the training pool that has been trained on at least once, and "
  "the effective sample size (Kish, 1965: the square of the sum of the "
  "examples' counts over the sum of their squares). It is the number of "
  "examples which, drawn equally often, would be spread as widely. "
)
_COSTS = (
  "FLOPs per example are relative to the baseline's. Seconds saved are the "
  "baseline's time to the highest valid top-1 of the next table that both "
  "reach, minus the sampler's. Dividing the seconds of scoring the difficulty "
  "by them gives the runs after which scoring has paid for itself."
)
_REACH = (
  "The median over trials of the cost at the first evaluation with that top-1 "
  "or better on the valid pool. Trials that did not reach it count as "
  "infinite: where most did not, the accuracy was not reached."
)


class Section(NamedTuple):
  """A titled part of the page: text, then a figure, a table, or both."""

  title: str
  text: str  # one paragraph
  stem: str  # of its files under figures/
  data: pd.DataFrame  # written as figures/<stem>.csv
  table: pd.DataFrame | None = None  # shown; by default `data`, if no figure
  figure: Figure | None = None  # written as figures/<stem>.png
  chart: go.Figure | None = None  # shown instead of the PNG


def make_sections(
  workdir: pathlib.Path, summary: pd.DataFrame
) -> Iterator[Section]:
  """Yields the sections of an experiment, given its summary.csv."""
  config = files.read_json(workdir / "config.json")
  yield from _accuracies(workdir, config, summary)
  for stem, (title, module) in OPTIONAL.items():
    table = module.make_table(workdir)
    if not table.empty:
      yield Section(title, module.TEXT.format(**table.attrs), stem, table)
  logs = curves.read_logs(workdir)
  if not logs.empty:
    yield from _curves(workdir, config, logs)
    yield from _costs(workdir, config, logs)
  yield from _policies(workdir, config)
  yield from _difficulty(workdir, config)


def _accuracies(
  workdir: pathlib.Path, config: paper.Config, summary: pd.DataFrame
) -> Iterator[Section]:
  text = _SUMMARY
  if summary.get("trials_diverged", pd.Series()).any():
    text += _DIVERGED
  table = formatting.summary(summary)
  yield Section("Summary", text, "summary", summary, table)
  for name, title in paper.TABLES:
    data = paper.table(workdir, summary, paper.field(config, name))
    if len(data):
      table = formatting.paper(data)
      yield Section(title, _PAPER, f"paper_{name}", data, table)


def _curves(
  workdir: pathlib.Path, config: paper.Config, logs: pd.DataFrame
) -> Iterator[Section]:
  """Yields learning curves, accuracy against cost, losses and exposure."""
  looks = styles(curves.read_metrics(workdir))
  means = curves.mean_curves(logs, (*curves.ACCURACIES, "loss"))
  # With a single evaluation at the end there is no curve.
  if means["sampler"].value_counts().max() > 1:
    groups = paper.curve_groups(config, means)
    for stem, (title, names) in groups.items():
      shown = means[means["sampler"].isin(names)]
      figure = figures.learning_curves(shown, looks)
      yield Section(title, _CURVES, stem, shown, figure=figure)
    yield Section(
      "Accuracy against examples, FLOPs and seconds",
      _CURVES + _CHART,
      "accuracy_against_cost",
      means,
      figure=figures.learning_curves(means, looks, costs=tuple(curves.COSTS)),
      chart=interactive.accuracy(means, looks),
    )
  losses = paper.losses(config, logs)
  title = paper.title(config, "Training and valid loss", 5)
  figure = figures.loss_curves(losses)
  yield Section(title, _LOSSES, "train_and_valid_loss", losses, figure=figure)
  seen = curves.mean_curves(logs, tuple(curves.EXPOSURE))
  if len(seen):
    figure = figures.learning_curves(seen, looks, curves.EXPOSURE)
    title, text = "How much of the pool was seen", _EXPOSURE + _CURVES
    yield Section(title, text, "pool_seen", seen, figure=figure)


def _costs(
  workdir: pathlib.Path, config: paper.Config, logs: pd.DataFrame
) -> Iterator[Section]:
  reach = curves.reach_table(logs, curves.thresholds(config))
  costs = curves.cost_table(tables.read_results(workdir), reach)
  title, table = "Cost of each sampler", formatting.costs(costs)
  yield Section(title, _COSTS, "costs", costs, table)
  title, table = "Cost of reaching an accuracy", formatting.reach(reach)
  yield Section(title, _REACH, "reach", reach, table)


def _policies(workdir: pathlib.Path, config: paper.Config) -> Iterator[Section]:
  """Yields a heat map of each policy that changed."""
  gallery = read_gallery(workdir)
  for name, policy in curves.changing_policies(workdir).items():
    partition = tables.arm_partition(workdir, name)
    arms = figures.arm_labels(partition, policy.shape[1], gallery)
    text = "The probability of each arm over training, mean over trials."
    if arms.strips:
      text += " Next to each row: random examples of its arm."
    yield Section(
      paper.title(config, f"Policy of {name}", 8),
      text,
      f"policy_{name}",
      policy.stack().rename("probability").reset_index(),
      figure=figures.policy_map(policy, name, arms),
    )


def _difficulty(
  workdir: pathlib.Path, config: paper.Config
) -> Iterator[Section]:
  """Yields examples by difficulty, and difficulty by class."""
  gallery = read_gallery(workdir)
  if gallery is None or not gallery.info.get("drawings"):
    return
  labels = [int(label) for label in gallery.info["drawings"]]
  kinds = {"least": "least informative", "most": "most informative"}
  yield Section(
    paper.title(config, "Least and most informative examples", 1),
    "The training examples of lowest and of highest difficulty, the loss of "
    "a reference model, in some classes from the hardest to the easiest.",
    "least_and_most",
    drawings.drawings_table(gallery, tuple(kinds), labels),
    figure=drawings.draw_classes(gallery, kinds, labels),
  )
  pair = [gallery.info["hardest"], gallery.info["easiest"]]
  yield Section(
    paper.title(config, "The hardest and the easiest class", 2),
    "Random examples of the classes of highest and lowest median difficulty.",
    "hard_and_easy",
    drawings.drawings_table(gallery, ("random",), pair),
    figure=drawings.draw_classes(gallery, {"random": "random"}, pair),
  )
  by_class = drawings.difficulty_table(gallery)
  yield Section(
    paper.title(config, "Difficulty by class", 3),
    "Quartiles of the difficulty of the training examples, by median.",
    "difficulty_by_class",
    by_class,
    figure=drawings.difficulty_by_class(by_class),
  )
