"""The figures of the paper: which samplers they show, and their numbers.

Only experiments whose config has `paper`, such as configs/paper.py, refer to
the paper's figures. `paper.exploration` and `paper.losses` list the samplers
of figures 6 and 5.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd


def title(config: Mapping[str, Any], text: str, number: int) -> str:
  """Returns a figure's title, with its number if the config has `paper`."""
  return f"{text} (figure {number} of the paper)" if "paper" in config else text


def curve_groups(
  config: Mapping[str, Any], means: pd.DataFrame
) -> dict[str, tuple[str, list[str]]]:
  """Returns the title and samplers of each figure of learning curves.

  One figure for each batch size, the largest first, and one of
  `paper.exploration` if all its samplers have finished.

  Args:
    config: config.json.
    means: of `curves.mean_curves`.

  Returns:
    By the stem of the figure's files.
  """
  by_size = means.groupby("batch_size")["sampler"].unique().map(list)
  groups = {}
  for size in by_size.index[::-1]:
    several = len(by_size) > 1
    text = f"Learning curves at batch size {size}"
    stem = f"learning_curves_{size}" if several else "learning_curves"
    number = 7 if size == 32 else 4
    groups[stem] = (title(config, text, number), by_size[size])
  names = (config.get("paper") or {}).get("exploration") or []
  if names and set(names) <= set(means["sampler"]):
    text = title(config, "Degrees of exploration", 6)
    groups["exploration"] = (text, names)
  return groups


def losses(config: Mapping[str, Any], logs: pd.DataFrame) -> pd.DataFrame:
  """Returns training and valid loss of `paper.losses`, else of all samplers.

  Args:
    config: config.json.
    logs: of `curves.read_logs`.

  Returns:
    sampler, examples_seen, train_loss, valid_loss: means over trials. The
    last is NaN between the evaluations.
  """
  names = (config.get("paper") or {}).get("losses") or []
  chosen = logs[logs["sampler"].isin(names)]
  groups = (logs if chosen.empty else chosen).groupby(
    ["sampler", "examples_seen"], sort=False
  )
  means = groups[["train_loss", "loss"]].mean().reset_index()
  return means.rename(columns={"loss": "valid_loss"})
