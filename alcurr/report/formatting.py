"""Tables as text, for the report and for the terminal."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from alcurr.report.tables import (
  HEADLINES,
  flops_ratio,
  headline,
  total_flops_ratio,
)

NONE = "-"
_ACCURACIES = {"top1": "top-1", "top3": "top-3", "r2": "R²"}
# Shown where they are known.
_OTHERS = {"balanced_accuracy": "balanced", "auc": "AUC"}
# Top-1 and balanced accuracy that differ by more are both shown on a terminal.
_DIFFERENT = 0.005
# Columns of costs about scores before training.
_OF_SCORES = ["scoring s", "of them for scores %", "runs to pay back scoring"]


def number(value: float, form: str) -> str:
  """Returns a formatted number, or a dash for NaN."""
  return NONE if pd.isna(value) else format(value, form)


def percent(value: float, sign: str = "") -> str:
  """Returns a share in percent, or a dash for NaN."""
  return number(100 * value, f"{sign}.2f")


def seconds(value: float) -> str:
  """Returns seconds with a decimal below 1000, or a dash for NaN."""
  return number(value, ",.1f" if value < 1000 else ",.0f")


def trials(finished: int, diverged: int) -> str:
  """Returns a number of trials: "3", or "2 of 3" if one diverged."""
  return f"{finished} of {finished + diverged}" if diverged else str(finished)


def _difference(row: Mapping[str, Any], metric: str) -> str:
  """Returns the paired difference to the baseline, with its interval."""
  if row["sampler"] == row["baseline"]:
    return "baseline"
  parts = (row[f"{metric}_{part}"] for part in ("difference", "low", "high"))
  mean, low, high = (percent(part, "+") for part in parts)
  return NONE if mean == NONE else f"{mean} [{low}, {high}]"


def _spread(row: Mapping[str, Any], metric: str) -> str:
  """Returns a mean ± the standard deviation over trials, in percent."""
  text = f"{percent(row[metric])} ± {percent(row[f'{metric}_std'])}"
  return text.removesuffix(f" ± {NONE}")


def _baseline(row: Mapping[str, Any]) -> str:
  return NONE if row["sampler"] == row["baseline"] else row["baseline"]


def summary(table: pd.DataFrame) -> pd.DataFrame:
  """Returns summary.csv as text, accuracies in percent."""
  rows = []
  accuracies = {m: name for m, name in _ACCURACIES.items() if m in table}
  others = {m: name for m, name in _OTHERS.items() if m in table}
  for row in table.to_dict("records"):
    cells = {
      "sampler": row["sampler"],
      "batch": str(row["batch_size"]),
      "trials": trials(row["trials"], row["trials_diverged"]),
      "n test": str(row["test_examples"]),
    }
    for metric, name in accuracies.items():
      cells[f"{name} %"] = _spread(row, metric)
      cells[f"{name} difference, 95 %"] = _difference(row, metric)
    for metric, name in others.items():
      cells[f"{name} %"] = _spread(row, metric)
    if "balanced_accuracy" in others:
      key = "balanced difference, 95 %"
      cells[key] = _difference(row, "balanced_accuracy")
    cells["compared with"] = _baseline(row)
    cells["loss"] = number(row["loss"], ".4f")
    for metric, name in accuracies.items():
      cells[f"{name} variance"] = number(row[f"{metric}_std"] ** 2, ".2e")
    rows.append(cells)
  return pd.DataFrame(rows)


def _metrics(table: pd.DataFrame) -> list[str]:
  """Returns the names of the metrics that tell something.

  Without top-3, of two or three classes, it is the AUC. The balanced accuracy
  is shown where it is another than top-1.
  """
  shown = [name for m, name in _ACCURACIES.items() if m in table]
  if "auc" in table and "top3" not in table:
    shown.append("AUC")
  if "balanced_accuracy" in table:
    different = (table["balanced_accuracy"] - table["top1"]).abs() > _DIFFERENT
    shown[1:1] = ["balanced"] * bool(different.any())
  return shown


def distinct(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
  """Drops those of some columns of a text table that are alike in all rows.

  The baseline's own cell in "compared with" is no difference.
  """
  alike = [
    name for name in names if name in table and len({*table[name]} - {NONE}) < 2
  ]
  return table.drop(columns=alike)


def compact(table: pd.DataFrame) -> pd.DataFrame:
  """Returns the `summary` of summary.csv without what says nothing."""
  columns = ["sampler", "batch", "trials"]
  for name in _metrics(table):
    columns += [f"{name} %", f"{name} difference, 95 %"]
  text = summary(table)
  columns += ["AUC %"] if "AUC %" in text and "AUC %" not in columns else []
  columns += ["loss", "compared with"]
  text = text[[name for name in columns if name in text]]
  common = ["batch", "compared with"]
  common += ["trials"] if not table["trials_diverged"].any() else []
  return distinct(text, common)


def terminal(table: pd.DataFrame) -> str:
  """Returns summary.csv as a text table, accuracies in percent."""
  baselines = table["baseline"].unique()
  base = baselines[0] if len(baselines) == 1 else "baseline"
  text = summary(table).assign(
    **{
      "train s": table["train_seconds"].map("{:.1f}".format),
      "scoring s": table["scoring_seconds"].map("{:.1f}".format),
      "FLOPs": flops_ratio(table).map("x {:.3f}".format),
      "all FLOPs": total_flops_ratio(table).map("x {:.3f}".format),
    }
  )
  shown = _metrics(table)
  columns = ["sampler", "trials", *(f"{name} %" for name in shown), "loss"]
  if not table["trials_diverged"].any():
    columns.remove("trials")
  compared = [f"{name} difference, 95 %" for name in shown]
  columns += [name for name in compared if name in text]
  text = text[[*columns, "train s", "scoring s", "FLOPs", "all FLOPs"]]
  text.columns = text.columns.str.replace("difference", f"- {base}")
  return text.to_string(index=False)


def combined(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
  """Returns top-1 of every sampler as text, given summary.csv by experiment."""
  texts = [summary(t).assign(experiment=name) for name, t in tables.items()]
  names = dict.fromkeys(HEADLINES[headline(t)] for t in tables.values())
  shown = [f"{n}{x}" for n in names for x in (" %", " difference, 95 %")]
  shown.append("compared with")
  text = pd.concat(texts)[["sampler", "experiment", "trials", *shown]]
  # Accuracy where there is R², and the other way round.
  text = distinct(text.fillna(NONE), ["trials", "compared with"])
  # A sampler's rows together, in the order in which samplers first appear.
  return pd.concat(rows for _, rows in text.groupby("sampler", sort=False))


def paper(table: pd.DataFrame) -> pd.DataFrame:
  """Returns `paper.table` as text, accuracies in percent."""
  shown = ("top-3 variance", "batch", "trials", "n test")
  text = summary(table)[["sampler", *shown, "top-3 difference, 95 %"]]
  text.insert(1, "paper: top-3 %", table["paper_top3"].map(percent))
  text.insert(2, "ours: top-3 %", table["top3"].map(percent))
  bounds = table["low"].map(percent) + " to " + table["high"].map(percent)
  text.insert(3, "95 % of the mean", bounds)
  return text


def reach(table: pd.DataFrame) -> pd.DataFrame:
  """Returns `curves.reach_table` as text, grouped by accuracy."""
  rows = []
  level = headline(table)
  for row in table.sort_values(level, kind="stable").to_dict("records"):
    cells = {
      "sampler": row["sampler"],
      f"valid {HEADLINES[level]}": f"{100 * row[level]:g} %",
      "batch": str(row["batch_size"]),
      "trials that reached it": f"{row['reached']} of {row['trials']}",
      "examples": f"{row['examples_seen']:,.0f}",
      "FLOPs": number(row["flops"], ".2e"),
      "seconds": seconds(row["seconds"]),
    }
    if math.isinf(row["examples_seen"]):
      cells |= dict.fromkeys(("examples", "FLOPs", "seconds"), "not reached")
    rows.append(cells)
  return distinct(pd.DataFrame(rows), ["batch", "trials that reached it"])


def costs(table: pd.DataFrame) -> pd.DataFrame:
  """Returns `curves.cost_table` as text.

  Where nothing was scored before training it says nothing of scores.
  """
  payback = {"inf": "never", "nan": "no accuracy reached by both"}
  rows = []
  for row in table.to_dict("records"):
    saved, runs = seconds(row["saved_seconds"]), f"{row['payback_runs']:.1f}"
    cells = {
      "sampler": row["sampler"],
      "train s per trial": seconds(row["train_seconds"]),
      "compile s": seconds(row["compile_seconds"]),
      "scoring s": seconds(row["scoring_seconds"]),
      "FLOPs per example": number(row["flops_ratio"], ".3f"),
      "FLOPs in all": number(row["total_flops_ratio"], ".3f"),
      "of them for scores %": percent(row["scores_share"]),
      "compared with": _baseline(row),
      "seconds saved per run": f"{saved} at {100 * row['level']:g} %",
      "runs to pay back scoring": payback.get(runs, runs),
    }
    if "scores_shared_by" in row:
      cells["scores shared by"] = f"{row['scores_shared_by']:.0f} runs"
    if pd.isna(row["level"]):
      cells["seconds saved per run"] = saved
    if not row["scoring_seconds"]:
      cells["runs to pay back scoring"] = "nothing scored"
    rows.append(cells)
  text = distinct(pd.DataFrame(rows), ["compared with"])
  if not table["scoring_seconds"].any():
    text = text.drop(columns=_OF_SCORES)
  return text


def any_table(table: pd.DataFrame) -> pd.DataFrame:
  """Returns a table as text: four digits of a column's largest number.

  If its smallest would be zero, each number has four digits of its own.
  """

  def text(column: pd.Series) -> pd.Series:
    if not pd.api.types.is_float_dtype(column):
      return column.astype(str)
    sizes = column.abs()[column != 0]
    form = ".4g"
    if sizes.max() < 1e4 * sizes.min():
      form = f".{max(3 - math.floor(math.log10(sizes.max())), 0)}f"
    return column.map(lambda cell: number(cell, form))

  return table.apply(text)


def suspects(table: pd.DataFrame) -> pd.DataFrame:
  """Returns labels that are probably wrong, as text."""
  shown = table.drop(columns="score")
  return shown.assign(
    probability=[percent(value) for value in table["probability"]]
  ).astype(str)
