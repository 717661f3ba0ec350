"""Figures of learning curves, losses and policies, drawn with matplotlib."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alcurr.report import curves, drawings
from alcurr.report.gallery import MAX_ARMS, Gallery
from alcurr.report.style import BAND_ALPHA, Style, plain


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
  size = (5 * columns + 1.5, max(4.2 * rows, 0.24 * len(groups)))
  figure = Figure(figsize=size, layout="constrained")
  share = "row" if rows > 1 else False
  axes = figure.subplots(rows, columns, squeeze=False, sharey=share)
  for axis, (metric, cost) in zip(axes.flat, panels, strict=True):
    for name, mean in groups:
      x, y, std = mean[cost], mean[metric], mean[f"{metric}_std"].fillna(0)
      style = {"color": looks[name].color, "label": plain(name)}
      axis.plot(x, y, looks[name].line, marker=".", **style)
      axis.fill_between(x, y - std, y + std, alpha=BAND_ALPHA, lw=0, **style)
    axis.set_xlabel(curves.COSTS[cost])
    if rows == 1 or axis in axes[:, 0]:
      axis.set_ylabel(metrics[metric])
    axis.grid(alpha=0.3)
  # Outside the panels, which many samplers would fill.
  figure.legend(handles=axes[0, 0].lines, loc="outside right upper")
  trials = sorted({means["trials"].min(), means["trials"].max()})
  title = f"mean and standard deviation, {' to '.join(map(str, trials))} trials"
  figure.suptitle(title, fontsize="medium")
  return figure


def loss_curves(losses: pd.DataFrame) -> Figure:
  """Draws training and valid loss of `paper.losses`, a panel per sampler."""
  groups = list(losses.groupby("sampler", sort=False))
  columns = min(4, len(groups))
  rows = -(-len(groups) // columns)
  figure = Figure(figsize=(4 * columns, 3 * rows), layout="constrained")
  axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
  for axis in axes.flat[len(groups) :]:
    axis.set_visible(False)
  for axis, (name, table) in zip(axes.flat, groups, strict=False):
    axis.plot(table["examples_seen"], table["train_loss"], label="train")
    valid = table.dropna(subset="valid_loss")
    axis.plot(valid["examples_seen"], valid["valid_loss"], ".-", label="valid")
    axis.set_title(plain(name), fontsize="medium")
    axis.grid(alpha=0.3)
  axes[0, 0].legend()
  figure.supxlabel("examples seen", fontsize="medium")
  figure.supylabel("loss", fontsize="medium")
  return figure


def policy_map(
  policy: pd.DataFrame, title: str, arms: ArmLabels | None = None
) -> Figure:
  """Draws a `curves.policy_curve` as a heat map, an arm per row."""
  arms = arms or ArmLabels()
  grid = policy.to_numpy().T  # [K, T]
  num_arms = len(grid)
  strips = arms.strips if num_arms <= MAX_ARMS else None
  row = 0.45 if strips else 0.2 if arms.names else 0.12  # inches
  size = (9.5 if strips else 7, min(max(4.5, row * num_arms), 24))
  figure = Figure(figsize=size, layout="constrained")
  widths = [1, 0.28] if strips else [1]
  axes = figure.subplots(
    1, len(widths), squeeze=False, sharey=True, width_ratios=widths
  )[0]
  # Policies are means over chunks: each spans from the end of the previous.
  x, y = [0, *policy.index], np.arange(num_arms + 1) + 0.5
  # The uniform policy is at most in the middle of the color scale.
  vmax = max(grid.max(), 2 / num_arms)
  mesh = axes[0].pcolormesh(x, y, grid, cmap="viridis", vmin=0, vmax=vmax)
  axes[0].set(title=plain(title), xlabel="examples seen", ylabel=arms.axis)
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
