"""The sections of an experiment's report, in the order of the page."""

import pathlib
import tomllib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure

from alcurr.core import files
from alcurr.report import (
  curves,
  drawings,
  factorial,
  figures,
  formatting,
  interactive,
  paper,
  policies,
  selection,
  suspects,
  tables,
)
from alcurr.report.gallery import Gallery, read_gallery
from alcurr.report.style import styles

# Tables that some experiments have.
OPTIONAL = {
  "best_setting": selection.best_setting_table,
  "regret": selection.regret_table,
  "effects": factorial.make_table,
}
_TEXTS = tomllib.loads(
  pathlib.Path(__file__).with_suffix(".toml").read_text("utf-8")
)


class Section(NamedTuple):
  """A titled part of the page: text, then a figure, a table, or both."""

  title: str
  text: str  # one paragraph
  stem: str  # of its files under figures/
  data: pd.DataFrame  # written as figures/<stem>.csv
  table: pd.DataFrame | None = None  # shown, as text
  figure: Figure | None = None  # shown, and written as figures/<stem>.png
  chart: go.Figure | None = None  # shown where scripts run


def _section(
  config: paper.Config,
  stem: str,
  data: pd.DataFrame,
  *extra: str,
  words: Mapping[str, Any] = MappingProxyType({}),
  **shown: Any,
) -> Section:
  """Returns the section of _TEXTS, with the texts of the keys in `extra`.

  `words` are those that the texts leave open.
  """
  texts = _TEXTS[stem]
  title = paper.title(config, texts["title"], texts.get("figure"))
  text = " ".join(" ".join(texts[key] for key in ("text", *extra)).split())
  words = {"metric": _metric(config), **words}
  return Section(
    title.format(**words), text.format(**words), stem, data, **shown
  )


def _metric(config: paper.Config) -> str:
  """Returns the name of what samplers are judged by."""
  regression = config.get("data", {}).get("regression")
  return tables.HEADLINES["r2" if regression else "top1"]


def make_sections(
  workdir: pathlib.Path, summary: pd.DataFrame
) -> Iterator[Section]:
  """Yields the sections of an experiment, given its summary.csv."""
  config = files.read_json(workdir / "config.json")
  extra = ["diverged"] if summary["trials_diverged"].any() else []
  own = config.get("data", {})
  if own.get("hold_out") is False and not own.get("test_dir"):
    extra.append("trained_on")
  table = formatting.compact(summary)
  figure = figures.differences(summary, styles(summary["sampler"]))
  shown = " ".join(table)
  extra += [key for key in ("balanced", "auc") if key in shown.lower()]
  yield _section(
    config,
    "summary",
    summary,
    *extra,
    words={"count": f"{summary['test_examples'].max():,}"},
    table=table,
    figure=figure,
  )
  for name in ("table_1", "table_2"):
    data = paper.table(workdir, summary, paper.field(config, name))
    if len(data):
      table = formatting.paper(data)
      yield _section(config, f"paper_{name}", data, table=table)
  for stem, make_table in OPTIONAL.items():
    data = make_table(workdir)
    if len(data):
      table = formatting.any_table(data)
      yield _section(config, stem, data, words=data.attrs, table=table)
  logs = curves.read_logs(workdir)
  if len(logs):
    yield from _curves(config, logs)
    reach = curves.reach_table(logs, curves.thresholds(config))
    results = tables.read_results(workdir)
    costs = curves.cost_table(results, reach)
    extra = [config.get("budget_basis", "examples")]
    extra += ["shared"] * ("scores_shared_by" in costs)
    extra += ["files"] * any(result.get("score_files") for result in results)
    table = formatting.costs(costs)
    yield _section(config, "costs", costs, *extra, table=table)
    reach = curves.reached(reach)
    if len(reach):
      yield _section(config, "reach", reach, table=formatting.reach(reach))
  gallery = read_gallery(workdir)
  yield from _policies(workdir, config, gallery)
  for name, found in suspects.judging_runs(workdir).items():
    data = suspects.shown_table(suspects.read_suspects(workdir, name))
    figure = suspects.draw_suspects(workdir, name, data)
    table = formatting.suspects(data)
    words = {"name": name, **found}
    section = _section(
      config, "suspects", data, words=words, table=table, figure=figure
    )
    yield section._replace(stem=f"suspects_{name}")
  if gallery and gallery.info.get("drawings"):
    yield from _difficulty(config, gallery)


def _curves(config: paper.Config, logs: pd.DataFrame) -> Iterator[Section]:
  """Yields learning curves, accuracy against cost, losses and exposure."""
  looks = styles(logs["sampler"].unique())
  shown = curves.measured(logs)
  means = curves.mean_curves(logs, (*shown, "loss"))
  # With a single evaluation at the end there is no curve.
  if means["sampler"].value_counts().max() > 1:
    groups = paper.curve_groups(config, means)
    for stem, (title, names) in groups.items():
      data = means[means["sampler"].isin(names)]
      figure = figures.learning_curves(data, looks, shown)
      section = _section(config, "learning_curves", data, figure=figure)
      yield section._replace(title=title, stem=stem)
    costs = tuple(curves.COSTS)
    figure = figures.learning_curves(means, looks, shown, costs)
    chart, stem = interactive.accuracy(means, looks), "accuracy_against_cost"
    yield _section(config, stem, means, figure=figure, chart=chart)
  losses = paper.losses(config, logs)
  figure = figures.loss_curves(losses)
  yield _section(config, "train_and_valid_loss", losses, figure=figure)
  seen = curves.mean_curves(logs, tuple(curves.EXPOSURE))
  if len(seen):
    figure = figures.learning_curves(seen, looks, curves.EXPOSURE)
    yield _section(config, "pool_seen", seen, figure=figure)


def _policies(
  workdir: pathlib.Path, config: paper.Config, gallery: Gallery | None
) -> Iterator[Section]:
  """Yields the policies that changed, with the shares that they ended at."""
  changing = curves.changing_policies(workdir)
  vmax = figures.scale_end(changing.values()) if changing else None
  results = {r["sampler"]: r for r in tables.read_results(workdir)}
  for name, policy in changing.items():
    num_arms = policy.shape[1]
    arms = policies.labels(workdir, name, num_arms, gallery)
    shares = policies.final_shares(workdir, name)
    table = policies.shares_table(shares, arms.axis)
    few = policies.few_measurements(results[name])
    extra = ["scale"] * (len(changing) > 1) + ["strips"] * bool(arms.strips)
    extra += ["shares"] * (table is not None) + ["few"] * bool(few)
    section = _section(
      config,
      "policy",
      policies.over_time(policy, arms),
      *extra,
      words={"name": name, **(few or {})},
      figure=figures.policy_map(policy, name, arms, vmax),
      table=table,
    )
    yield section._replace(stem=f"policy_{name}")


def _difficulty(config: paper.Config, gallery: Gallery) -> Iterator[Section]:
  """Yields examples by difficulty, and difficulty by class."""
  some = [int(label) for label in gallery.info["drawings"]]
  ends = [gallery.info["hardest"], gallery.info["easiest"]]
  kinds = {"least": "least difficult", "most": "most difficult"}
  shown = [("least_and_most", kinds, some)]
  # Regression has no classes, which is one of all examples.
  if several := ends[0] != ends[1]:
    shown.append(("hard_and_easy", {"random": "random"}, ends))
  for stem, titles, labels in shown:
    data = drawings.drawings_table(gallery, titles, labels)
    figure = drawings.draw_classes(gallery, titles, labels)
    text = formatting.distinct(formatting.any_table(data), ["class"])
    table = None if figure else text
    yield _section(config, stem, data, figure=figure, table=table)
  if not several:
    return
  data = drawings.difficulty_table(gallery)
  figure = drawings.difficulty_by_class(data)
  yield _section(config, "difficulty_by_class", data, figure=figure)
