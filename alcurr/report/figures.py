"""Figures of learning curves, losses and policies, drawn with matplotlib."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from alcurr.report import curves, drawings, scales, tables
from alcurr.report.gallery import MAX_ARMS, Gallery
from alcurr.report.style import (
  BAND_ALPHA,
  COLORS,
  LOOK,
  WIDTH,
  ShownFigure,
  Style,
  plain,
)

_LEGEND_COLUMNS = 4


class ArmLabels(NamedTuple):
  """The labels of the rows of a policy map."""

  strips: list[np.ndarray] | None = None  # [K] pictures [h, w, 3] uint8
  names: list[str] | None = None  # [K]; None: numbers from 1
  axis: str = "arm"


def arm_labels(
  partition: str | None, num_arms: int, gallery: Gallery | None
) -> ArmLabels:
  """Returns labels for the K arms of a sampler's `spec.arm_partition`."""
  if partition == "label":
    names = gallery.info["class_names"] if gallery else []
    return ArmLabels(None, names if len(names) == num_arms else None, "class")
  arms = gallery.info["partitions"].get(partition) if gallery else None
  strips = None
  if arms and len(arms["drawings"]) == num_arms and gallery.image.size:
    images = [gallery.image[positions[:4]] for positions in arms["drawings"]]
    strips = [drawings.montage(image, columns=4) for image in images]
  names = arms.get("names") if arms else None
  if names and len(names) == num_arms:
    return ArmLabels(strips, names, "group")
  scored = partition is not None and partition.startswith("difficulty")
  return ArmLabels(strips, None, "arm (1: easiest)" if scored else "arm")


@matplotlib.rc_context(LOOK)
def differences(
  summary: pd.DataFrame, looks: Mapping[str, Style]
) -> Figure | None:
  """Draws each sampler's lead over its baseline, with its 95 % interval.

  From `tables.summary_table`. None: no sampler has a lead.
  """
  metric = tables.headline(summary)
  rows = summary[summary["sampler"] != summary["baseline"]]
  if not len(rows) or rows[f"{metric}_low"].isna().all():
    return None
  rows = rows.dropna(subset=f"{metric}_low")[::-1]  # the first on top
  size = (0.7 * WIDTH, 0.9 + 0.3 * len(rows))
  figure = ShownFigure(figsize=size, layout="constrained")
  axis = figure.subplots()
  axis.axvline(0, color=COLORS[0], lw=1)
  parts = ("difference", "low", "high")
  for y, row in enumerate(rows.to_dict("records")):
    mean, low, high = (100 * row[f"{metric}_{part}"] for part in parts)
    color = looks[row["sampler"]].color
    axis.plot([low, high], [y, y], color=color, lw=3, solid_capstyle="round")
    axis.plot(mean, y, "o", color=color, ms=8)
  names = [plain(name) for name in rows["sampler"]]
  axis.set_yticks(range(len(rows)), names)
  axis.set(ylim=(-0.6, len(rows) - 0.4))
  axis.grid(visible=False, axis="y")
  axis.tick_params(axis="y", length=0)
  axis.spines["left"].set_visible(False)
  bases = rows["baseline"].unique()
  base = plain(bases[0]) if len(bases) == 1 else "the baseline"
  lows = 100 * rows.set_index("sampler")[f"{metric}_low"].clip(upper=0)
  best = max(100 * rows[f"{metric}_high"].max(), 0)
  if cut := scales.shown_range(lows, best):
    axis.set_xlim(*cut[0])
    axis.set_title(plain(scales.describe_cut(cut[1])))
  axis.set_xlabel(f"{tables.HEADLINES[metric]} difference to {base}, points")
  return figure


@matplotlib.rc_context(LOOK)
def learning_curves(
  means: pd.DataFrame,
  looks: Mapping[str, Style],
  metrics: Mapping[str, str],
  costs: Iterable[str] = ("examples_seen",),
) -> Figure:
  """Draws metrics against costs: a panel for each pair, a line per sampler.

  `means` are of `curves.mean_curves`; `metrics` has labels for its columns,
  `looks` the style of each sampler. With several of `curves.COSTS`, each metric
  has a row.
  """
  panels = [(metric, cost) for metric in metrics for cost in costs]
  rows = len(metrics) if len(panels) > len(metrics) else 1
  columns = len(panels) // rows
  groups = list(means.groupby("sampler", sort=False))
  lines = math.ceil(len(groups) / _LEGEND_COLUMNS)
  width = WIDTH if columns > 1 else 0.65 * WIDTH
  height = rows * (3.4 if columns < 3 else 2.6) + 0.22 * lines
  figure = ShownFigure(figsize=(width, height), layout="constrained")
  share = "row" if rows > 1 else False
  axes = figure.subplots(rows, columns, squeeze=False, sharey=share)
  for axis, (metric, cost) in zip(axes.flat, panels, strict=True):
    for name, mean in groups:
      x, y, std = mean[cost], mean[metric], mean[f"{metric}_std"].fillna(0)
      style = {"color": looks[name].color, "label": plain(name)}
      axis.plot(x, y, looks[name].line, marker=".", **style)
      axis.fill_between(x, y - std, y + std, alpha=BAND_ALPHA, lw=0, **style)
    axis.set_xlabel(curves.COSTS[cost])
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    if rows == 1 or axis in axes[:, 0]:
      axis.set_ylabel(metrics[metric])
    if metric in curves.SHARES:
      axis.yaxis.set_major_formatter(PercentFormatter(1))
  # Outside the panels, which many samplers would fill.
  figure.legend(
    handles=axes[0, 0].lines,
    loc="outside lower center",
    ncols=min(_LEGEND_COLUMNS, len(groups)),
  )
  trials = sorted({means["trials"].min(), means["trials"].max()})
  title = f"mean and standard deviation, {' to '.join(map(str, trials))} trials"
  beyond: dict[str, None] = {}
  for (metric, _), axis in zip(panels, axes.flat, strict=True):
    beyond |= dict.fromkeys(_cut_low(axis, means, metric))
  if beyond:
    title += f"\n{plain(scales.describe_cut([*beyond]))}"
  figure.suptitle(title)
  return figure


def _cut_low(axis: Axes, means: pd.DataFrame, metric: str) -> list[str]:
  """Ends an axis of an accuracy where samplers far behind go beyond."""
  if metric not in curves.ACCURACIES:
    return []
  low = means[metric] - means[f"{metric}_std"].fillna(0)
  worst = low.groupby(means["sampler"]).min()
  cut = scales.shown_range(worst, means[metric].max())
  if cut is None:
    return []
  axis.set_ylim(*cut[0])
  return cut[1]


@matplotlib.rc_context(LOOK)
def loss_curves(losses: pd.DataFrame) -> Figure:
  """Draws training and valid loss of `paper.losses`, a panel per sampler."""
  groups = list(losses.groupby("sampler", sort=False))
  columns = min(3, len(groups))
  rows = -(-len(groups) // columns)
  figure = ShownFigure(
    figsize=(WIDTH * columns / 3, 2.3 * rows + 0.3), layout="constrained"
  )
  axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
  for axis in axes.flat[len(groups) :]:
    axis.set_visible(False)
  for axis, (name, table) in zip(axes.flat, groups, strict=False):
    axis.plot(table["examples_seen"], table["train_loss"], label="train")
    valid = table.dropna(subset="valid_loss")
    axis.plot(valid["examples_seen"], valid["valid_loss"], ".-", label="valid")
    axis.set_title(plain(name))
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
  each = losses[["train_loss", "valid_loss"]]
  worst = each.max(axis=1).groupby(losses["sampler"]).max()
  if cut := scales.shown_range(worst, each.min().min()):
    axes[0, 0].set_ylim(*cut[0])
    figure.suptitle(plain(scales.describe_cut(cut[1])))
  axes[0, 0].legend()
  figure.supxlabel(curves.COSTS["examples_seen"], fontsize="medium")
  figure.supylabel("loss", fontsize="medium")
  return figure


def scale_end(policies: Iterable[pd.DataFrame]) -> float:
  """Returns the end of a color scale for all of some policies.

  A uniform policy is at most in the middle of the scale.
  """
  ends = [max(p.to_numpy().max(), 2 / p.shape[1]) for p in policies]
  return float(max(ends))


@matplotlib.rc_context(LOOK | {"axes.grid": False})
def policy_map(
  policy: pd.DataFrame,
  title: str,
  arms: ArmLabels | None = None,
  vmax: float | None = None,
) -> Figure:
  """Draws a `curves.policy_curve` as a heat map, an arm per row.

  `vmax` is the end of the color scale; None: of this policy's `scale_end`.
  """
  arms = arms or ArmLabels()
  grid = policy.to_numpy().T  # [K, T]
  num_arms = len(grid)
  strips = arms.strips if num_arms <= MAX_ARMS else None
  row = 0.45 if strips else 0.2 if arms.names else 0.12  # inches
  size = (WIDTH if strips else 0.75 * WIDTH, min(max(3.6, row * num_arms), 24))
  figure = ShownFigure(figsize=size, layout="constrained")
  widths = [1, 0.28] if strips else [1]
  axes = figure.subplots(
    1, len(widths), squeeze=False, sharey=True, width_ratios=widths
  )[0]
  # Policies are means over chunks: each spans from the end of the previous.
  x, y = [0, *policy.index], np.arange(num_arms + 1) + 0.5
  vmax = vmax or scale_end([policy])
  mesh = axes[0].pcolormesh(x, y, grid, cmap="viridis", vmin=0, vmax=vmax)
  axes[0].set(title=plain(title), ylabel=arms.axis)
  axes[0].set_xlabel(curves.COSTS["examples_seen"])
  axes[0].xaxis.set_major_formatter(EngFormatter(sep=""))
  ticks = range(1, num_arms + 1, -(-num_arms // (60 if arms.names else 12)))
  names = arms.names or list(map(str, range(1, num_arms + 1)))
  axes[0].set_yticks(ticks, [plain(names[tick - 1]) for tick in ticks])
  if strips:
    for k, strip in enumerate(strips, start=1):
      axes[1].imshow(strip, extent=(0, 1, k - 0.45, k + 0.45), aspect="auto")
    axes[1].set(xlim=(0, 1), ylim=(0.5, num_arms + 0.5), xticks=[])
    axes[1].set_title("examples of the arm", fontsize="small")
    axes[1].tick_params(axis="y", left=False, labelleft=False)
    axes[1].spines[:].set_visible(False)
  label = f"probability (uniform: {1 / num_arms:.3g})"
  figure.colorbar(mesh, ax=axes[-1], label=label)
  return figure
