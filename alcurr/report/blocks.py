"""The parts of an experiment's report, in the order of the page."""

import base64
import pathlib
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from alcurr.core import files
from alcurr.report import (
  best_setting,
  curves,
  drawings,
  factorial,
  figures,
  formatting,
  interactive,
  paper_figures,
  paper_tables,
  regret,
)
from alcurr.report.gallery import read_gallery
from alcurr.report.style import styles

# What other modules have to say: (workdir) -> Section, or None.
SECTIONS = (best_setting.section, regret.section, factorial.section)


class Block(NamedTuple):
  """A titled part of the page: text, then a figure, a table, or both."""

  title: str
  text: str
  stem: str  # of its files under figures/
  plot: go.Figure | None = None  # else figures/<stem>.png is shown, if any
  table: pd.DataFrame | None = None  # of texts
  # Filled in by the page.
  id: str = ""
  figure: Markup | str = ""
  files: dict[str, str] = {}  # noqa: RUF012 - replaced, never written to


def make_blocks(
  workdir: pathlib.Path, summary: pd.DataFrame, stems: list[str]
) -> list[Block]:
  """Everything about an experiment whose figures have been written.

  Args:
    workdir: of the experiment; the tables of the page are left under figures/.
    summary: its summary.csv.
    stems: of `figures.write_figures`.
  """
  return [
    *_accuracies(workdir, summary),
    *_extras(workdir),
    *_curves(workdir, stems),
    *_costs(workdir),
    *_policies(workdir),
    *_drawings(workdir, stems),
  ]


def figure_html(block: Block, workdir: pathlib.Path, name: str) -> Markup | str:
  """A block's figure as a piece of the page, whose id is `name`."""
  if block.plot is not None:
    return Markup(interactive.to_html(block.plot, name))
  path = workdir / "figures" / f"{block.stem}.png"
  if block.table is not None or not path.exists():
    return ""
  source = base64.b64encode(path.read_bytes()).decode()
  image = Markup('<img alt="{}" src="data:image/png;base64,{}">')
  return image.format(block.title, source)


def _leave(workdir: pathlib.Path, stem: str, table: pd.DataFrame) -> None:
  figures.write_csv(workdir / "figures" / f"{stem}.csv", table)


def _accuracies(workdir: pathlib.Path, summary: pd.DataFrame) -> list[Block]:
  """The summary, and the paper's two tables where they apply."""
  baselines = curves.read_baselines(workdir)
  _leave(workdir, "summary", summary)
  shown = [
    Block(
      "Summary",
      "Accuracy on the test pool: mean ± sample standard deviation over "
      "trials, in percent; the sample variance over trials, of accuracies in "
      "[0, 1]; and the paired difference to the baseline, in points, with its "
      "95 % bootstrap interval over trials and test examples."
      + (_WRONG if summary.get("trials_wrong", pd.Series()).any() else ""),
      "summary",
      table=formatting.summary(summary, baselines),
    )
  ]
  for stem, title, numbers in paper_tables.TABLES:
    table = paper_tables.paper_table(workdir, summary, numbers)
    if table is not None:
      _leave(workdir, stem, table)
      shown.append(
        Block(
          title,
          paper_tables.STANDING,
          stem,
          table=formatting.paper(table, baselines),
        )
      )
  return shown


_WRONG = (
  " Trials that went wrong, their numbers no longer finite, are left out of "
  "every mean, interval and figure; results.csv has the step of each."
)
_CURVES = (
  "Mean over trials, with a band of one sample standard deviation. A click on "
  "a name in the legend hides it, a double click shows it alone."
)


_SEEN = (
  "The share of the training pool that has been trained on at least once, and "
  "the effective sample size of all that was trained on: as many examples, "
  "each taken equally often, would be spread as widely over the pool (Kish, "
  "1965; the square of the sum of the examples' counts over the sum of their "
  "squares). It falls where a sampler no longer draws what it has seen before. "
)


def _curves(workdir: pathlib.Path, stems: list[str]) -> list[Block]:
  """Learning curves, accuracy against cost, and losses."""
  logs = curves.read_logs(workdir)
  if logs.empty:
    return []
  means = curves.mean_curves(logs)
  looks = styles(curves.read_metrics(workdir))
  shown = []
  for stem, names in paper_figures.curve_groups(workdir, means).items():
    some = means[means["sampler"].isin(names)]
    plot = interactive.accuracy(some, looks, costs=("examples_seen",))
    shown.append(Block(_curves_title(stem), _CURVES, stem, plot))
  shown.append(
    Block(
      "Accuracy against examples, FLOPs and seconds",
      f"{_CURVES} FLOPs and seconds are those of training alone, a trial's; "
      "what scoring took is in the table of costs.",
      "accuracy_against_cost",
      interactive.accuracy(means, looks),
    )
  )
  shown.append(
    Block(
      "Training against valid loss (as the paper's figure 5)",
      "Means over trials. Thin lines: the training loss, of the examples that "
      "the sampler chose; with markers: the loss on the valid pool.",
      "train_and_valid_loss",
      interactive.losses(paper_figures.losses(workdir, logs), looks),
    )
  )
  if "pool_seen" in stems:
    seen = curves.mean_curves(logs, tuple(curves.SEEN))
    plot = interactive.accuracy(seen, looks, ("examples_seen",), curves.SEEN)
    shown.append(
      Block("How much of the pool was seen", _SEEN + _CURVES, "pool_seen", plot)
    )
  return [block for block in shown if block.stem in stems]


def _curves_title(stem: str) -> str:
  if stem == "full_exploration":
    return (
      "Full exploration and E = 0.8 against uniform (as the paper's figure 6)"
    )
  size = stem.removeprefix("learning_curves").removeprefix("_")
  number = 7 if size == "32" else 4
  at = f" at batch {size}" if size else ""
  return f"Learning curves{at} (as the paper's figure {number})"


def _costs(workdir: pathlib.Path) -> list[Block]:
  """What each sampler costs, and what it took to reach an accuracy."""
  config = files.read_json(workdir / "config.json")
  logs = curves.read_logs(workdir)
  if logs.empty:
    return []
  reach = curves.reach_table(logs, curves.thresholds(config))
  costs = curves.cost_table(
    curves.tables.read_results(workdir), curves.read_baselines(workdir), reach
  )
  _leave(workdir, "costs", costs)
  _leave(workdir, "reach", reach)
  return [
    Block(
      "What each sampler costs",
      "FLOPs of a step, by its examples, are relative to the baseline's. "
      "Seconds saved are the baseline's time to the highest valid top-1 of the "
      "table below that both reach, less the sampler's; scoring the difficulty "
      "has paid for itself after its own seconds over those.",
      "costs",
      table=formatting.costs(costs),
    ),
    Block(
      "Cost of reaching an accuracy",
      "The median over all trials of what it took to the first evaluation of "
      "that top-1 or better on the valid pool; a trial that never came there "
      "counts as endless, so where most did not, it was not reached.",
      "reach",
      table=formatting.reach(reach),
    ),
  ]


def _policies(workdir: pathlib.Path) -> list[Block]:
  """A heat map of each policy that changed."""
  gallery = read_gallery(workdir)
  shown = []
  for name, table in curves.moving_policies(workdir).items():
    arms = paper_figures.arms_of(workdir, name, table.shape[1], gallery)
    beside = " Beside each row, drawings of its arm at random."
    shown.append(
      Block(
        f"Policy of {name}",
        "As the paper's figure 8: the probability of each arm over "
        "training, mean over trials." + (beside if arms.strips else ""),
        f"policy_{name}",
        interactive.policy(table, name, arms),
      )
    )
  return shown


def _drawings(workdir: pathlib.Path, stems: list[str]) -> list[Block]:
  """Figures 1 to 3 of the paper."""
  gallery = read_gallery(workdir)
  if gallery is None or "difficulty_by_class" not in stems:
    return []
  by_class = drawings.difficulty_table(gallery)
  return [
    Block(
      "Least and most informative drawings (as the paper's figure 1)",
      "The training drawings of lowest and of highest difficulty, the loss of "
      "a reference model, of some classes from the hardest to the easiest.",
      "least_and_most",
    ),
    Block(
      "A hard class beside an easy one (as the paper's figure 2)",
      "Drawings at random of the classes of highest and lowest median "
      "difficulty.",
      "hard_and_easy",
    ),
    Block(
      "Difficulty by class (as the paper's figure 3)",
      "Quartiles of difficulty of the training drawings, by median.",
      "difficulty_by_class",
      interactive.difficulty(by_class),
    ),
  ]


def _extras(workdir: pathlib.Path) -> list[Block]:
  """What other modules have to say of this experiment."""
  shown = []
  for make_section in SECTIONS:
    section = make_section(workdir)
    if section is not None:
      _leave(workdir, section.stem, section.table)
      shown.append(
        Block(
          section.title,
          section.text,
          section.stem,
          section.figure,
          formatting.any_table(section.table),
        )
      )
  return shown
