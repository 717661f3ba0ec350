"""The report's tables as a reader sees them: every cell a text."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from alcurr.report.tables import trials_in_words

NONE = "-"


def percent(value: float, sign: str = "") -> str:
  """An accuracy in percent, or a dash where there is none."""
  return NONE if pd.isna(value) else f"{100 * value:{sign}.2f}"


def interval(mean: float, low: float, high: float, sign: str = "+") -> str:
  """A mean with its bounds, in percent."""
  if pd.isna(mean):
    return NONE
  bounds = f"[{percent(low, sign)}, {percent(high, sign)}]"
  return f"{percent(mean, sign)} {bounds}"


def seconds(value: float) -> str:
  if pd.isna(value):
    return NONE
  return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def _spread(row: Mapping[str, Any], metric: str) -> str:
  deviation = row[f"{metric}_std"]
  tail = "" if pd.isna(deviation) else f" ± {percent(deviation)}"
  return percent(row[metric]) + tail


def _variance(value: float) -> str:
  return NONE if pd.isna(value) else f"{value:.2e}"


def difference(row: Mapping[str, Any], metric: str, is_base: bool) -> str:
  """A row of summary.csv: the paired difference to its baseline."""
  if is_base:
    return "baseline"
  parts = (f"{metric}_{part}" for part in ("difference", "low", "high"))
  return interval(*(row.get(part, math.nan) for part in parts))


def summary(table: pd.DataFrame, baselines: Mapping[str, str]) -> pd.DataFrame:
  """summary.csv, accuracies in percent.

  Args:
    table: summary.csv.
    baselines: the sampler that each is compared with.
  """
  rows = []
  for row in table.to_dict("records"):
    name = row["sampler"]
    base = baselines[name]
    cell = {
      "sampler": name,
      "batch": f"{row['batch_size']:.0f}",
      "trials": trials_in_words(row),
      "n test": f"{row['test_examples']:.0f}",
    }
    for metric, label in (("top1", "top-1"), ("top3", "top-3")):
      cell[f"{label} %"] = _spread(row, metric)
      cell[f"{label} difference, 95 %"] = difference(row, metric, name == base)
    cell["compared with"] = NONE if name == base else base
    cell["loss"] = NONE if pd.isna(row["loss"]) else f"{row['loss']:.4f}"
    for metric, label in (("top1", "top-1"), ("top3", "top-3")):
      cell[f"{label} variance"] = _variance(row[f"{metric}_std"] ** 2)
    rows.append(cell)
  return pd.DataFrame(rows)


def combined(
  tables: Mapping[str, pd.DataFrame],
  baselines: Mapping[str, Mapping[str, str]],
) -> pd.DataFrame:
  """Sampler x experiment: top-1 and its difference to the baseline there.

  Args:
    tables: summary.csv by experiment.
    baselines: by experiment, the sampler that each is compared with.
  """
  rows = []
  for experiment, table in tables.items():
    for row in table.to_dict("records"):
      name = row["sampler"]
      base = baselines[experiment][name]
      rows.append(
        {
          "sampler": name,
          "experiment": experiment,
          "trials": trials_in_words(row),
          "top-1 %": _spread(row, "top1"),
          "difference, 95 %": difference(row, "top1", name == base),
          "compared with": NONE if name == base else base,
        }
      )
  # Samplers in the order in which they first appear, each one's together.
  order = {name: i for i, name in enumerate(dict.fromkeys(_names(rows)))}
  rows.sort(key=lambda row: order[row["sampler"]])
  return pd.DataFrame(rows)


def _names(rows: list[dict[str, str]]) -> list[str]:
  return [row["sampler"] for row in rows]


def paper(table: pd.DataFrame, baselines: Mapping[str, str]) -> pd.DataFrame:
  """A table of `paper.paper_table`, accuracies in percent."""
  rows = []
  for row in table.to_dict("records"):
    name = row["sampler"]
    parts = ("difference", "difference_low", "difference_high")
    to_base = interval(*(row[part] for part in parts))
    rows.append(
      {
        "sampler": name,
        "paper: top-3 %": percent(row["paper_top3"]),
        "ours: top-3 %": percent(row["top3"]),
        "95 % of the mean": f"{percent(row['low'])} to {percent(row['high'])}",
        "sample variance": _variance(row["top3_variance"]),
        "batch": f"{row['batch_size']:.0f}",
        "trials": trials_in_words(row),
        "n test": f"{row['test_examples']:.0f}",
        "difference to baseline, 95 %": (
          "baseline" if name == baselines[name] else to_base
        ),
      }
    )
  return pd.DataFrame(rows)


def reach(table: pd.DataFrame) -> pd.DataFrame:
  """`curves.reach_table`, the samplers side by side at each accuracy."""
  rows = []
  ordered = table.sort_values("top1", kind="stable")
  for row in ordered.to_dict("records"):
    missed = math.isinf(row["examples_seen"])
    flops = NONE if pd.isna(row["flops"]) else f"{row['flops']:.3g}"
    rows.append(
      {
        "sampler": row["sampler"],
        "valid top-1": f"{row['top1']:g}",
        "batch": str(row["batch_size"]),
        "trials that reached it": f"{row['reached']} of {row['trials']}",
        "examples": "not reached" if missed else f"{row['examples_seen']:,.0f}",
        "FLOPs": "not reached" if missed else flops,
        "seconds": "not reached" if missed else seconds(row["seconds"]),
      }
    )
  return pd.DataFrame(rows)


def costs(table: pd.DataFrame) -> pd.DataFrame:
  """`curves.cost_table` in words."""
  rows = []
  for row in table.to_dict("records"):
    ratio = row["flops_ratio"]
    is_base = row["sampler"] == row["baseline"]
    saved = seconds(row["saved_seconds"])
    at = "" if pd.isna(row["level"]) else f" at {row['level']:g}"
    rows.append(
      {
        "sampler": row["sampler"],
        "train s a trial": seconds(row["train_seconds"]),
        "compile s": seconds(row["compile_seconds"]),
        "scoring s": seconds(row["scoring_seconds"]),
        "FLOPs of a step": NONE if pd.isna(ratio) else f"x {ratio:.3f}",
        "compared with": NONE if is_base else row["baseline"],
        "seconds saved a run": "baseline" if is_base else f"{saved}{at}",
        "runs to pay back scoring": _payback(row),
      }
    )
  return pd.DataFrame(rows)


def _payback(row: Mapping[str, Any]) -> str:
  runs = row["payback_runs"]
  if pd.isna(runs):
    nothing = not row["scoring_seconds"]
    return "nothing scored" if nothing else "no accuracy reached by both"
  return "never" if math.isinf(runs) else f"{runs:.1f}"


def any_table(table: pd.DataFrame) -> pd.DataFrame:
  """A table of another module: numbers to four digits, the rest as it is."""
  return table.map(_any_cell)


def _any_cell(value: Any) -> str:
  if isinstance(value, float):
    return NONE if math.isnan(value) else f"{value:.4g}"
  return NONE if value is None else str(value)
