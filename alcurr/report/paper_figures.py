"""Which samplers a figure of the paper is about, from the config alone."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from alcurr.core import files, specs
from alcurr.report import drawings
from alcurr.report.gallery import Gallery

CURRICULA = ("curriculum", "bucketed_curriculum")
# The partition that a sampler draws from where its config does not say.
DEFAULT_ARMS = {
  "class_reweighting": "label",
  "curriculum": "difficulty_in_pool",
  "bucketed_curriculum": "difficulty_in_pool",
}


class ArmLabels(NamedTuple):
  """How the rows of a policy map are labelled."""

  strips: list[np.ndarray] | None = None  # [K] pictures [h, w, 3] uint8
  names: list[str] | None = None  # [K]; None: numbers from 1
  axis: str = "arm (1: easiest)"


def samplers(workdir: pathlib.Path) -> dict[str, dict[str, Any]]:
  """Each sampler's `name` in the registry and its arguments, by its own."""
  config = files.read_json(workdir / "config.json")
  parsed = {}
  for own, sampler in config["samplers"].items():
    name, arguments = specs.parse(sampler["name"], f"samplers.{own}")
    parsed[own] = sampler | arguments | {"name": name}
  return parsed


def curve_groups(
  workdir: pathlib.Path, means: pd.DataFrame
) -> dict[str, list[str]]:
  """The samplers of each figure of learning curves, by the figure's stem.

  One figure of all samplers for each batch size, the largest first, and one
  of full exploration and the paper's bandit against uniform where the
  experiment has them.

  Args:
    workdir: of the experiment.
    means: of `curves.mean_curves`.
  """
  by_size = means.groupby("batch_size")["sampler"].unique().map(list)
  if len(by_size) == 1:
    groups = {"learning_curves": by_size.iloc[0]}
  else:
    groups = {
      f"learning_curves_{size}": by_size[size] for size in by_size.index[::-1]
    }
  configs = samplers(workdir)
  for names in by_size:
    if explored := exploration(configs, names):
      groups["full_exploration"] = explored
      break
  return groups


def exploration(
  configs: Mapping[str, Mapping[str, Any]], names: list[str]
) -> list[str] | None:
  """Uniform, full exploration (E = 0) and the bandit of E = 0.8, of `names`.

  None where one of the first two is absent. Bandits are those of the paper,
  which are paid the prediction gain of the trained batch.
  """

  def bandits(epsilon: float) -> list[str]:
    return [
      name
      for name in names
      if configs[name]["name"] == "active_bandit"
      and _number(configs[name].get("epsilon")) == epsilon
      and str(configs[name].get("gain")).startswith("prediction_gain")
    ]

  uniform = [name for name in names if configs[name]["name"] == "uniform"]
  full = bandits(1.0)
  if not (uniform and full):
    return None
  return [*uniform[:1], *full[:1], *bandits(0.2)[:1]]


def _number(value: Any) -> float | None:
  """A number, also one written as text; None for a schedule."""
  try:
    return float(value)
  except (TypeError, ValueError):
    return None


def losses(workdir: pathlib.Path, logs: pd.DataFrame) -> pd.DataFrame:
  """Training and valid loss of the curricula, or of all where there is none.

  Returns:
    sampler, examples_seen, train_loss, valid_loss: means over trials, the
    last NaN between the evaluations.
  """
  configs = samplers(workdir)
  curricula = [n for n in configs if configs[n]["name"] in CURRICULA]
  if logs["sampler"].isin(curricula).any():
    logs = logs[logs["sampler"].isin(curricula)]
  groups = logs.groupby(["sampler", "examples_seen"], sort=False)
  means = groups[["train_loss", "loss"]].mean().reset_index()
  return means.rename(columns={"loss": "valid_loss"})


def arms_of(
  workdir: pathlib.Path, name: str, num_arms: int, gallery: Gallery | None
) -> ArmLabels:
  """What is known of the arms that a sampler draws from."""
  config = samplers(workdir)[name]
  default = DEFAULT_ARMS.get(config["name"], "difficulty")
  partition = str(config.get("partition", default))
  if partition == "label":
    names = gallery.info["class_names"] if gallery else []
    names = list(names) if len(names) == num_arms else None
    return ArmLabels(None, names, "class")
  strips = drawings.arm_strips(gallery, partition, num_arms)
  scored = partition.startswith("difficulty")
  return ArmLabels(strips, None, "arm (1: easiest)" if scored else "arm")
