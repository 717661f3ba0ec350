"""The tables and figures of the paper, next to ours.

"Data Sampling Algorithms for Active Learning", Mantica and Hellerstein. Only
experiments whose config has `paper`, such as configs/paper.py, refer to it:
`paper.table_1` and `paper.table_2` hold its numbers, `paper.losses` and
`paper.exploration` list the samplers of its figures 5 and 6.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import pandas as pd

from alcurr.report import bootstrap, tables

Config = Mapping[str, Any]  # config.json


def field(config: Config, name: str) -> Any:
  """Returns a field of `paper`; empty if the config does not have it."""
  return (config.get("paper") or {}).get(name) or {}


def title(config: Config, text: str, number: int | None) -> str:
  """Returns a title; if the config has `paper`, with its figure's number."""
  numbered = number and "paper" in config
  return f"{text} (figure {number} of the paper)" if numbered else text


def table(
  workdir: pathlib.Path, summary: pd.DataFrame, numbers: Mapping[str, float]
) -> pd.DataFrame:
  """Returns the rows of summary.csv that the paper has too, in its order.

  More columns: `paper_top3` has the paper's `numbers`, top-3 in [0, 1] by
  sampler; `low` and `high` are the 95 % bounds of our mean. Of up to three
  classes there is no row.
  """
  finished = set(summary["sampler"]) if "top3" in summary else set()
  names = [name for name in numbers if name in finished]
  top3 = [tables.per_example(workdir, name)["top3"] for name in names]
  intervals = [bootstrap.paired_bootstrap(values) for values in top3]
  rows = summary.set_index("sampler").loc[names].reset_index()
  return rows.assign(
    paper_top3=[numbers[name] for name in names],
    low=[interval.low for interval in intervals],
    high=[interval.high for interval in intervals],
  )


def curve_groups(
  config: Config, means: pd.DataFrame
) -> dict[str, tuple[str, list[str]]]:
  """Returns the title and samplers of each figure of learning curves, by stem.

  There is a figure for each batch size in `means`, the largest first, and one
  of `paper.exploration` if all its samplers have finished. Other experiments
  have none: their curves are in one chart, of accuracy against cost.
  """
  if "paper" not in config:
    return {}
  by_size = means.groupby("batch_size")["sampler"].unique().map(list)
  groups = {}
  for size in by_size.index[::-1]:
    stem = "learning_curves" + f"_{size}" * (len(by_size) > 1)
    text = f"Learning curves at batch size {size}"
    groups[stem] = (title(config, text, 7 if size == 32 else 4), by_size[size])
  names = list(field(config, "exploration"))
  if names and set(names) <= set(means["sampler"]):
    groups["exploration"] = (title(config, "Degrees of exploration", 6), names)
  return groups


def losses(config: Config, logs: pd.DataFrame) -> pd.DataFrame:
  """Returns mean losses of `paper.losses`, or of all samplers if there is none.

  Columns: sampler, examples_seen, train_loss, and valid_loss, which is NaN
  between the evaluations.
  """
  chosen = logs["sampler"].isin(field(config, "losses"))
  logs = logs.rename(columns={"loss": "valid_loss"})
  groups = logs[chosen | (not chosen.any())].groupby(
    ["sampler", "examples_seen"], sort=False
  )
  return groups[["train_loss", "valid_loss"]].mean().reset_index()
