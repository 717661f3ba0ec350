"""What combinations of settings came to: a row for each, and a plot."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alcurr.report import formatting, tables
from alcurr.report.style import plain, styles
from alcurr.training import evaluation

RATE = "optimizer.learning_rate"


def summarize(
  scores: evaluation.Scores, diverged_step: np.ndarray
) -> dict[str, float]:
  """The means over trials and drawings, with their 95 % intervals.

  The intervals are of a bootstrap over both, see `tables.resampled_means`.

  Args:
    scores: [S, N], of one combination.
    wrong_step: [S], 0 for a trial that counts.
  """
  rank, loss = np.asarray(scores.rank), np.asarray(scores.loss)
  row = {
    "trials": int((diverged_step == 0).sum()),
    "trials_wrong": int((diverged_step > 0).sum()),
  }
  for metric, values in (
    ("top1", rank < 1),
    ("map3", np.where(rank < 3, 1 / (rank + 1), 0)),
    ("loss", loss),
  ):
    values = values.astype(np.float64)
    values[diverged_step > 0] = np.nan
    interval = tables.paired_bootstrap(values)
    row[metric] = interval.mean
    row[f"{metric}_low"], row[f"{metric}_high"] = interval.low, interval.high
  return row


def plot(table: pd.DataFrame, fields: Sequence[str]) -> Figure:
  """Top-1 against one field, the rate if it varies; a line for each rest."""
  axis_field = RATE if RATE in fields else fields[0]
  rest = [field for field in fields if field != axis_field]
  figure = Figure(figsize=(8, 5), layout="constrained")
  axis = figure.subplots()
  lines = {
    ", ".join(f"{f}={v}" for f, v in zip(rest, values, strict=True)): part
    for values, part in (
      table.groupby(rest, sort=False) if rest else [((), table)]
    )
  }
  for (name, part), look in zip(
    lines.items(), styles(lines).values(), strict=True
  ):
    x = part[axis_field]
    if axis_field != RATE:
      x = x.astype(str)
    # A bootstrap's interval need not hold the mean.
    error = [
      (part["top1"] - part["top1_low"]).clip(lower=0),
      (part["top1_high"] - part["top1"]).clip(lower=0),
    ]
    axis.errorbar(
      x,
      part["top1"],
      error,
      color=look.color,
      linestyle=look.line,
      marker=".",
      capsize=3,
      label=plain(name),
    )
  axis.set(xlabel=axis_field, ylabel="top-1 accuracy on valid, 95 %")
  if axis_field == RATE:
    axis.set_xscale("log")
  axis.grid(alpha=0.3)
  if rest:
    axis.legend(fontsize="small")
  return figure


def in_words(table: pd.DataFrame, fields: Sequence[str]) -> str:
  """The table as text for a terminal."""
  text = table[list(fields)].copy()
  if table["trials_wrong"].any():
    counts = zip(table["trials"], table["trials_wrong"], strict=True)
    text["trials"] = [formatting.trials(*count) for count in counts]
  for metric, scale, form in (
    ("top1", 100, "{:.2f}"),
    ("map3", 100, "{:.2f}"),
    ("loss", 1, "{:.4f}"),
  ):
    unit = " %" if scale == 100 else ""
    text[f"{metric}{unit}"] = [
      " ".join(
        (
          form.format(scale * row[metric]),
          f"[{form.format(scale * row[f'{metric}_low'])},",
          f"{form.format(scale * row[f'{metric}_high'])}]",
        )
      )
      if row["trials"]
      else "-"
      for _, row in table.iterrows()
    ]
  return text.to_string(index=False)


def best_options(table: pd.DataFrame, fields: Sequence[str]) -> str:
  """The best of the table as it would be typed."""
  if not table["trials"].any():
    return "\nAll trials went wrong."
  # By column: a row would make floats of whole numbers.
  place = table["top1"].idxmax()
  best = (f"--config.{field}={table.at[place, field]}" for field in fields)
  return f"\nBest top-1: {' '.join(best)}"


def render(table: pd.DataFrame, fields: Sequence[str]) -> str:
  """The table, the best of it, and whether there may be a better one."""
  lines = [in_words(table, fields), best_options(table, fields)]
  if RATE in fields and table["trials"].any():
    ends = {table[RATE].min(), table[RATE].max()}
    if len(ends) > 1 and table.at[table["top1"].idxmax(), RATE] in ends:
      lines.append("Its rate is at an end of those tried: try more beyond.")
  return "\n".join(lines)
