"""Tables as text, for the report and for the terminal."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

NONE = "-"
Row = Mapping[str, Any]
_NAMES = {"top1": "top-1", "top3": "top-3"}


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
  return f"{finished:.0f}" + (
    f" of {finished + diverged:.0f}" if diverged else ""
  )


def _trials(row: Row) -> str:
  return trials(row["trials"], row.get("trials_diverged", 0))


def _with_deviation(row: Row, metric: str) -> str:
  """Returns a metric in percent and its standard deviation over trials."""
  deviation = row[f"{metric}_std"]
  tail = "" if pd.isna(deviation) else f" ± {percent(deviation)}"
  return percent(row[metric]) + tail


def _difference(row: Row, metric: str) -> str:
  """Returns the paired difference to the baseline, with its interval."""
  if row["sampler"] == row["baseline"]:
    return "baseline"
  mean, low, high = (
    percent(row.get(f"{metric}_{part}", math.nan), "+")
    for part in ("difference", "low", "high")
  )
  return NONE if mean == NONE else f"{mean} [{low}, {high}]"


def _baseline(row: Row) -> str:
  return NONE if row["sampler"] == row["baseline"] else row["baseline"]


def _table(rows: Iterable[Mapping[str, str]]) -> pd.DataFrame:
  return pd.DataFrame(list(rows))


def terminal(summary: pd.DataFrame) -> str:
  """Returns summary.csv as a text table, accuracies in percent."""
  rows = summary.to_dict("records")
  # Per example, because a baseline may have another batch size.
  cost = {
    row["sampler"]: (row["flops_per_step"] or math.nan) / row["batch_size"]
    for row in rows
  }
  baselines = summary["baseline"].unique()
  base = baselines[0] if len(baselines) == 1 else "baseline"
  some_diverged = summary["trials_diverged"].any()
  table = _table(
    {
      "sampler": row["sampler"],
      **({"trials": _trials(row)} if some_diverged else {}),
      **{f"{n} %": _with_deviation(row, m) for m, n in _NAMES.items()},
      "loss": number(row["loss"], ".4f"),
      **{f"{n} - {base}, 95 %": _difference(row, m) for m, n in _NAMES.items()},
      "train s": f"{row['train_seconds']:.1f}",
      "scoring s": f"{row['scoring_seconds']:.1f}",
      "FLOPs": f"x {cost[row['sampler']] / cost[row['baseline']]:.3f}",
    }
    for row in rows
  )
  return table.to_string(index=False)


def summary(table: pd.DataFrame) -> pd.DataFrame:
  """Returns summary.csv as text, accuracies in percent."""
  rows = []
  for row in table.to_dict("records"):
    cells = {
      "sampler": row["sampler"],
      "batch": f"{row['batch_size']:.0f}",
      "trials": _trials(row),
      "n test": f"{row['test_examples']:.0f}",
    }
    for metric, name in _NAMES.items():
      cells[f"{name} %"] = _with_deviation(row, metric)
      cells[f"{name} difference, 95 %"] = _difference(row, metric)
    cells["compared with"] = _baseline(row)
    cells["loss"] = number(row["loss"], ".4f")
    for metric, name in _NAMES.items():
      cells[f"{name} variance"] = number(row[f"{metric}_std"] ** 2, ".2e")
    rows.append(cells)
  return _table(rows)


def combined(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
  """Returns top-1 and its difference for each sampler of each experiment.

  Args:
    tables: summary.csv by experiment.
  """
  rows = [
    {
      "sampler": row["sampler"],
      "experiment": experiment,
      "trials": _trials(row),
      "top-1 %": _with_deviation(row, "top1"),
      "difference, 95 %": _difference(row, "top1"),
      "compared with": _baseline(row),
    }
    for experiment, table in tables.items()
    for row in table.to_dict("records")
  ]
  # A sampler's rows together, in the order in which samplers first appear.
  names = [row["sampler"] for row in rows]
  return _table(sorted(rows, key=lambda row: names.index(row["sampler"])))


def paper(table: pd.DataFrame) -> pd.DataFrame:
  """Returns `paper_tables.paper_table` as text, accuracies in percent."""
  return _table(
    {
      "sampler": row["sampler"],
      "paper: top-3 %": percent(row["paper_top3"]),
      "ours: top-3 %": percent(row["top3"]),
      "95 % of the mean": f"{percent(row['low'])} to {percent(row['high'])}",
      "sample variance": number(row["top3_std"] ** 2, ".2e"),
      "batch": f"{row['batch_size']:.0f}",
      "trials": _trials(row),
      "n test": f"{row['test_examples']:.0f}",
      "difference to baseline, 95 %": _difference(row, "top3"),
    }
    for row in table.to_dict("records")
  )


def reach(table: pd.DataFrame) -> pd.DataFrame:
  """Returns `curves.reach_table` as text, grouped by accuracy."""

  def cost(value: float, text: str) -> str:
    return "not reached" if math.isinf(value) else text

  return _table(
    {
      "sampler": row["sampler"],
      "valid top-1": f"{row['top1']:g}",
      "batch": str(row["batch_size"]),
      "trials that reached it": f"{row['reached']} of {row['trials']}",
      "examples": cost(row["examples_seen"], f"{row['examples_seen']:,.0f}"),
      "FLOPs": cost(row["examples_seen"], number(row["flops"], ".3g")),
      "seconds": cost(row["examples_seen"], seconds(row["seconds"])),
    }
    for row in table.sort_values("top1", kind="stable").to_dict("records")
  )


def costs(table: pd.DataFrame) -> pd.DataFrame:
  """Returns `curves.cost_table` as text."""

  def saved(row: Row) -> str:
    if row["sampler"] == row["baseline"]:
      return "baseline"
    at = "" if pd.isna(row["level"]) else f" at {row['level']:g}"
    return seconds(row["saved_seconds"]) + at

  def payback(row: Row) -> str:
    runs = row["payback_runs"]
    if not pd.isna(runs):
      return "never" if math.isinf(runs) else f"{runs:.1f}"
    scored = row["scoring_seconds"]
    return "no accuracy reached by both" if scored else "nothing scored"

  return _table(
    {
      "sampler": row["sampler"],
      "train s per trial": seconds(row["train_seconds"]),
      "compile s": seconds(row["compile_seconds"]),
      "scoring s": seconds(row["scoring_seconds"]),
      "FLOPs per example": number(row["flops_ratio"], ".3f"),
      "compared with": _baseline(row),
      "seconds saved per run": saved(row),
      "runs to pay back scoring": payback(row),
    }
    for row in table.to_dict("records")
  )


def any_table(table: pd.DataFrame) -> pd.DataFrame:
  """Returns a table as text, with floats to four digits."""
  return table.map(
    lambda cell: number(cell, ".4g") if isinstance(cell, float) else str(cell)
  )
