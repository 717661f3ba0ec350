"""Results of settings: a row for each, a plot and a text."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alcurr.report import tables
from alcurr.report.style import plain, styles
from alcurr.training import evaluation

RATE = "optimizer.learning_rate"


def summarize(
  scores: evaluation.Scores, diverged_step: np.ndarray
) -> dict[str, float]:
  """Returns means with 95 % intervals, see `tables.paired_bootstrap`.

  Args:
    scores: [S, N], of one setting.
    diverged_step: [S], 0 for a trial that did not diverge.
  """
  rank, diverged = np.asarray(scores.rank), diverged_step > 0
  row = {
    "trials": int((~diverged).sum()),
    "trials_diverged": int(diverged.sum()),
  }
  for metric, values in (
    ("top1", rank < 1),
    ("map3", np.where(rank < 3, 1 / (rank + 1), 0)),
    ("loss", np.asarray(scores.loss)),
  ):
    values = values.astype(np.float64)
    values[diverged] = np.nan
    interval = tables.paired_bootstrap(values)
    row[metric] = interval.mean
    row[f"{metric}_low"], row[f"{metric}_high"] = interval.low, interval.high
  return row


def lines(
  table: pd.DataFrame, fields: Sequence[str]
) -> Iterator[tuple[pd.DataFrame, dict[str, Any]]]:
  """Yields the rows of each setting of some fields, and the look of its line.

  The look is a dict of arguments for matplotlib.
  """
  groups = table.groupby(list(fields), sort=False) if fields else [((), table)]
  parts = {
    ", ".join(f"{f}={v}" for f, v in zip(fields, values, strict=True)): part
    for values, part in groups
  }
  for name, style in styles(parts).items():
    look = {"color": style.color, "linestyle": style.line, "marker": "."}
    yield parts[name], look | {"label": plain(name)}


def plot(table: pd.DataFrame, fields: Sequence[str]) -> Figure:
  """Draws top-1 against the rate, or the first field without one."""
  axis_field = RATE if RATE in fields else fields[0]
  others = [field for field in fields if field != axis_field]
  figure = Figure(figsize=(8, 5), layout="constrained")
  axis = figure.subplots()
  for part, look in lines(table, others):
    x = part[axis_field]
    # The interval of a bootstrap need not contain the mean.
    error = [
      (part["top1"] - part["top1_low"]).clip(lower=0),
      (part["top1_high"] - part["top1"]).clip(lower=0),
    ]
    x = x if axis_field == RATE else x.astype(str)
    axis.errorbar(x, part["top1"], error, capsize=3, **look)
  axis.set(xlabel=axis_field, ylabel="top-1 accuracy on valid, 95 %")
  if axis_field == RATE:
    axis.set_xscale("log")
  axis.grid(alpha=0.3)
  if others:
    axis.legend(fontsize="small")
  return figure


def render(table: pd.DataFrame, fields: Sequence[str]) -> str:
  """Returns the table and the best setting, as the options to set it."""
  text = table[list(fields)].copy()
  if table["trials_diverged"].any():
    text["trials"] = [
      f"{row.trials} of {row.trials + row.trials_diverged}"
      for row in table.itertuples()
    ]
  for metric, column, scale, form in (
    ("top1", "top1 %", 100, ".2f"),
    ("map3", "map3 %", 100, ".2f"),
    ("loss", "loss", 1, ".4f"),
  ):
    bounds = table[[metric, f"{metric}_low", f"{metric}_high"]] * scale
    text[column] = [
      "-" if np.isnan(mean) else f"{mean:{form}} [{low:{form}}, {high:{form}}]"
      for mean, low, high in bounds.itertuples(index=False)
    ]
  if not table["trials"].any():
    return f"{text.to_string(index=False)}\n\nAll trials diverged."
  # By column: a row would convert integers to floats.
  best = table["top1"].idxmax()
  options = [f"--config.{field}={table.at[best, field]}" for field in fields]
  return f"{text.to_string(index=False)}\n\nBest top-1: {' '.join(options)}"


def is_at_end(table: pd.DataFrame, fields: Sequence[str]) -> bool:
  """Returns whether the best rate is the lowest or highest of several."""
  if RATE not in fields or not table["trials"].any():
    return False
  ends = {table[RATE].min(), table[RATE].max()}
  return len(ends) > 1 and table.at[table["top1"].idxmax(), RATE] in ends
