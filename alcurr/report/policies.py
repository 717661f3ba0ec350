"""Policies of samplers over their arms: over a run, at its end, in words."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from alcurr.core import specs
from alcurr.core.errors import UserError
from alcurr.report import curves, tables
from alcurr.report.figures import ArmLabels, arm_labels
from alcurr.report.gallery import MAX_ARMS, Gallery, read_gallery

# With fewer for each arm, trials end with different policies: see
# docs/sources.md, where runs of five arms were measured.
MEASUREMENTS_PER_ARM = 10


def check_arms(metrics: Mapping[str, pd.DataFrame], name: str) -> None:
  """Checks that a finished sampler draws from arms.

  Args:
    metrics: the rows of each sampler, see `curves.read_metrics`.
    name: of the sampler.

  Raises:
    UserError: there is none of that name, or it has no arms.
  """
  specs.check_choice("name", name, metrics)
  if "policy" not in metrics[name]:
    having = ", ".join(_having_arms(metrics)) or "none"
    text = f"{name} has no arms; those with arms: {having}"
    raise UserError("unsupported", "name", text)


def _having_arms(metrics: Mapping[str, pd.DataFrame]) -> list[str]:
  return [name for name, rows in metrics.items() if "policy" in rows]


def final_shares(
  workdir: pathlib.Path, name: str | None = None
) -> pd.DataFrame:
  """Returns the share of each arm at the end of a run, a row each.

  Columns: sampler, trial, arm and share. The share is the mean over the steps
  of the last chunk, exploration included. Arms are named as classes or groups
  are; else they are numbers from 1. Diverged trials are omitted.

  Args:
    workdir: the experiment's folder.
    name: a sampler; None: all that draw from arms.

  Raises:
    UserError: no finished sampler of that name draws from arms.
  """
  metrics = curves.read_metrics(workdir)
  if name is None:
    having = _having_arms(metrics)
  else:
    check_arms(metrics, name)
    having = [name]
  gallery = read_gallery(workdir)
  columns = ["sampler", "trial", "arm", "share"]
  parts = [
    (each, trial, arm, share)
    for each in having
    for trial, policy in _last(metrics[each]).items()
    for arm, share in zip(
      _names(labels(workdir, each, len(policy), gallery), len(policy)),
      policy,
      strict=True,
    )
  ]
  return pd.DataFrame(parts, columns=columns)


def _last(metrics: pd.DataFrame) -> Mapping[Any, Sequence[float]]:
  """Returns the last policy [K] of each trial."""
  ordered = metrics.dropna(subset="policy").sort_values("step")
  return ordered.groupby("trial")["policy"].last().to_dict()


def labels(
  workdir: pathlib.Path, name: str, num_arms: int, gallery: Gallery | None
) -> ArmLabels:
  """Returns the labels of a sampler's arms."""
  partition = tables.arm_partition(workdir, name)
  return arm_labels(partition, num_arms, gallery)


def _names(arms: ArmLabels, num_arms: int) -> list[Any]:
  return arms.names or [*range(1, num_arms + 1)]


def over_time(policy: pd.DataFrame, arms: ArmLabels) -> pd.DataFrame:
  """Returns a `curves.policy_curve` in rows: examples_seen, arm, probability.

  Arms have their names, if they have any.
  """
  names = pd.Index(_names(arms, policy.shape[1]), name="arm")
  named = policy.set_axis(names, axis="columns")
  return named.stack().rename("probability").reset_index()


def shares_table(shares: pd.DataFrame, axis: str) -> pd.DataFrame | None:
  """Returns the `final_shares` of one sampler as text, in percent.

  A row per arm: the mean with the sample's standard deviation over trials, and
  the smallest and largest of a trial. None: more arms than a reader compares.
  """
  percent = shares.assign(share=100 * shares["share"])
  groups = percent.groupby("arm", sort=False)["share"]
  if len(groups) > MAX_ARMS:
    return None
  found = groups.agg(["mean", "std", "min", "max", "count"])
  text = pd.DataFrame({axis: found.index.astype(str)})
  text["share at the end %"] = [
    f"{row['mean']:.1f}" + (f" ± {row['std']:.1f}" if row["count"] > 1 else "")
    for row in found.to_dict("records")
  ]
  text["least of a trial %"] = [f"{value:.1f}" for value in found["min"]]
  text["most %"] = [f"{value:.1f}" for value in found["max"]]
  return text


def in_words(workdir: pathlib.Path, most: int = 6) -> list[str]:
  """Returns a line per sampler with the final shares of its groups.

  They are means over trials, the largest first; of many groups, the `most`
  largest are named. Samplers whose arms are no groups have no line, nor do
  those that measure nothing of them, whose shares are the user's own.
  """
  lines, results = [], tables.read_results(workdir)
  learning = [r["sampler"] for r in results if r.get("measurements")]
  for sampler, rows in final_shares(workdir).groupby("sampler", sort=False):
    is_grouped = tables.arm_partition(workdir, sampler) == "groups"
    if not is_grouped or sampler not in learning:
      continue
    by_arm = rows.groupby("arm")["share"]
    found = pd.DataFrame({"mean": by_arm.mean(), "std": by_arm.std()})
    found = 100 * found.sort_values("mean", ascending=False)
    parts = [
      f"{arm} {mean:.0f}" + (f" ± {std:.0f} %" if std == std else " %")
      for arm, mean, std in found.head(most).itertuples()
    ]
    more = len(found) - most
    parts += [f"and {more} more"] if more > 0 else []
    lines.append(f"{sampler} ended with the shares {', '.join(parts)}.")
  return lines


def few_measurements(result: Mapping[str, Any]) -> dict[str, int] | None:
  """Returns `measurements` and `arms` of a run that measured too seldom.

  None: often enough; or a sampler that measures nothing of arms, or a result of
  an older version, which do not say.
  """
  found = {key: result.get(key) for key in ("measurements", "arms")}
  if None in found.values():
    return None
  enough = MEASUREMENTS_PER_ARM * found["arms"]
  return found if found["measurements"] < enough else None
