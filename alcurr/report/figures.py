"""Every figure as a PNG, with its data as CSV, from an experiment's files.

The functions that draw return a matplotlib figure, for a notebook or for a
file; `write_figures` writes them all.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alcurr.core import files, paths
from alcurr.report import curves, drawings, paper_figures
from alcurr.report.curves import read_metrics
from alcurr.report.gallery import MAX_ARMS, Gallery, read_gallery
from alcurr.report.style import Style, plain, styles


class Plate(NamedTuple):
  """A figure with its data, both under figures/<stem>."""

  stem: str
  figure: Figure
  data: pd.DataFrame


def learning_curves(
  metrics: dict[str, pd.DataFrame],
  panels: tuple[tuple[str, str], ...] = (
    ("top1", "top-1 accuracy"),
    ("loss", "loss"),
  ),
  looks: Mapping[str, Style] | None = None,
) -> Figure:
  """Valid metrics against examples seen, a panel each.

  Args:
    metrics: a table per sampler, of `read_metrics`.
    panels: (metric, axis label) pairs.
    looks: of each sampler; by default in the order of `metrics`.
  """
  looks = looks or styles(metrics)
  size = (6 * len(panels) + 1.5, max(4.5, 0.24 * len(metrics)))
  figure = Figure(figsize=size, layout="constrained")
  axes = figure.subplots(1, len(panels), squeeze=False)[0]
  for name, table in metrics.items():
    rows = table[table["valid"].notna()]
    for axis, (metric, label) in zip(axes, panels, strict=True):
      value = rows["valid"].map(lambda valid, key=metric: valid[key])
      curve = value.groupby(rows["examples_seen"]).agg(["mean", "std"])
      band(axis, curve.index, curve, looks[name], name, len(metrics))
      axis.set(xlabel="examples seen", ylabel=f"{label} on valid")
  # Beside the curves, which fill the axes when there are many samplers.
  figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
  counts = sorted({table["trial"].nunique() for table in metrics.values()})
  trials = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
  figure.suptitle(
    f"Mean and standard deviation over {trials} trials", fontsize="medium"
  )
  return figure


def band(axis, x, curve: pd.DataFrame, look: Style, name: str, crowd: int):
  """A line of `mean` with a band of `std` around it, named in the legend."""
  axis.plot(
    *(x, curve["mean"], look.line),
    color=look.color,
    label=plain(name),
    marker=".",
  )
  deviation = curve["std"].fillna(0)
  axis.fill_between(
    x,
    curve["mean"] - deviation,
    curve["mean"] + deviation,
    color=look.color,
    alpha=band_alpha(crowd),
    linewidth=0,
  )
  axis.grid(alpha=0.3)


def band_alpha(crowd: int) -> float:
  """Opacity of a band among so many, which lie over each other."""
  return 0.15 if crowd <= 6 else 0.06


def accuracy_against_cost(
  means: pd.DataFrame, looks: Mapping[str, Style]
) -> Figure:
  """Top-1 and top-3 against examples, FLOPs and seconds.

  Args:
    means: of `curves.mean_curves`.
    looks: of each sampler.
  """
  groups = list(means.groupby("sampler", sort=False))
  size = (16, max(8, 0.24 * len(groups)))
  figure = Figure(figsize=size, layout="constrained")
  axes = figure.subplots(2, len(curves.COSTS), sharey="row")
  for row, metric in zip(axes, ("top1", "top3"), strict=True):
    for axis, (cost, label) in zip(row, curves.COSTS.items(), strict=True):
      for name, mean in groups:
        curve = pd.DataFrame({"mean": mean[metric]})
        curve["std"] = mean[f"{metric}_std"]
        band(axis, mean[cost], curve, looks[name], name, len(groups))
      axis.set_xlabel(label)
    row[0].set_ylabel(f"top-{metric[-1]} accuracy on valid")
  handles, labels = axes[0, 0].get_legend_handles_labels()
  figure.legend(handles, labels, loc="outside right upper")
  return figure


def pool_seen(means: pd.DataFrame, looks: Mapping[str, Style]) -> Figure:
  """How much of the training pool each sampler has seen, a panel each.

  Args:
    means: of `curves.mean_curves` of `curves.SEEN`.
    looks: of each sampler.
  """
  groups = list(means.groupby("sampler", sort=False))
  size = (13.5, max(4.5, 0.24 * len(groups)))
  figure = Figure(figsize=size, layout="constrained")
  axes = figure.subplots(1, len(curves.SEEN))
  for axis, (metric, label) in zip(axes, curves.SEEN.items(), strict=True):
    for name, mean in groups:
      curve = pd.DataFrame({"mean": mean[metric]})
      curve["std"] = mean[f"{metric}_std"]
      x = mean["examples_seen"]
      band(axis, x, curve, looks[name], name, len(groups))
    axis.set(xlabel="examples seen", ylabel=label, ylim=(0, None))
  figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
  return figure


def loss_curves(losses: pd.DataFrame) -> Figure:
  """Training loss against valid loss, a panel for each sampler.

  Args:
    losses: sampler, examples_seen, train_loss, valid_loss (NaN between the
      evaluations), means over trials.
  """
  groups = list(losses.groupby("sampler", sort=False))
  columns = min(4, len(groups))
  rows = -(-len(groups) // columns)
  size = (4 * columns + 0.5, 3 * rows + 0.5)
  figure = Figure(figsize=size, layout="constrained")
  axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
  for axis in axes.flat[len(groups) :]:
    axis.set_visible(False)
  for axis, (name, rows_of) in zip(axes.flat, groups, strict=False):
    axis.plot(rows_of["examples_seen"], rows_of["train_loss"], label="train")
    valid = rows_of.dropna(subset="valid_loss")
    axis.plot(valid["examples_seen"], valid["valid_loss"], ".-", label="valid")
    axis.set_title(plain(name), fontsize="medium")
    axis.grid(alpha=0.3)
  axes[0, 0].legend()
  figure.supxlabel("examples seen", fontsize="medium")
  figure.supylabel("loss", fontsize="medium")
  return figure


def policy_map(
  policy: pd.DataFrame,
  title: str,
  arms: paper_figures.ArmLabels | None = None,
) -> Figure:
  """How likely each arm was, over training: the mean over trials.

  Args:
    policy: examples seen x arm, of `curves.policy_curve`.
    title: of the figure.
    arms: drawings of each arm, shown beside its row, and its name.
  """
  arms = arms or paper_figures.ArmLabels()
  grid = policy.to_numpy().T  # [K, T]
  num_arms = len(grid)
  strips = arms.strips if num_arms <= MAX_ARMS else None
  row = 0.45 if strips else 0.2 if arms.names else 0.12  # inches
  height = max(4.5, row * num_arms)
  width = 9.5 if strips else 7
  figure = Figure(figsize=(width, min(height, 24)), layout="constrained")
  grid_spec = {"width_ratios": [1, 0.28]} if strips else {}
  axes = figure.subplots(
    *(1, 1 + bool(strips)), squeeze=False, sharey=True, gridspec_kw=grid_spec
  )[0]
  # The rows are means over chunks: each spans from the end of the one before.
  edges = np.concatenate([[0], policy.index.to_numpy()])
  mesh = axes[0].pcolormesh(
    *(edges, np.arange(num_arms + 1) + 0.5, grid),
    cmap="viridis",
    vmin=0,
    # An even policy is to lie in the middle of the colours.
    vmax=max(grid.max(), 2 / num_arms),
  )
  axes[0].set(title=plain(title), xlabel="examples seen", ylabel=arms.axis)
  ticks = np.arange(1, num_arms + 1, -(-num_arms // (60 if arms.names else 12)))
  names = [plain(arms.names[i - 1]) for i in ticks] if arms.names else ticks
  axes[0].set_yticks(ticks, names)
  if strips:
    _show_strips(axes[1], strips)
  figure.colorbar(
    mesh, ax=axes[-1], label=f"probability (uniform: {1 / num_arms:.3g})"
  )
  return figure


def _show_strips(axis, strips: Sequence[np.ndarray]) -> None:
  """A picture beside each row of a policy map that shares the y axis."""
  for k, strip in enumerate(strips, start=1):
    axis.imshow(strip, extent=(0, 1, k - 0.45, k + 0.45), aspect="auto")
  axis.set(xlim=(0, 1), ylim=(0.5, len(strips) + 0.5), xticks=[])
  axis.set_title("drawings of the arm", fontsize="small")
  axis.tick_params(axis="y", left=False, labelleft=False)
  axis.spines[:].set_visible(False)


def gallery_plates(gallery: Gallery | None) -> list[Plate]:
  """Figures 1 to 3 of the paper; none where nothing was scored."""
  if gallery is None or not drawings.shown_classes(gallery):
    return []
  labels = drawings.shown_classes(gallery)
  pair = [gallery.info["hardest"], gallery.info["easiest"]]
  by_class = drawings.difficulty_table(gallery)
  return [
    Plate(
      "least_and_most",
      drawings.least_and_most(gallery),
      drawings.drawings_table(gallery, ("least", "most"), labels),
    ),
    Plate(
      "hard_and_easy",
      drawings.hard_beside_easy(gallery),
      drawings.drawings_table(gallery, ("random",), pair),
    ),
    Plate(
      "difficulty_by_class", drawings.difficulty_by_class(by_class), by_class
    ),
  ]


def curve_plates(workdir: pathlib.Path) -> list[Plate]:
  """Figures 4 to 7 of the paper, and accuracy against three costs."""
  metrics = read_metrics(workdir)
  if not metrics:
    return []
  looks = styles(metrics)
  logs = curves.read_logs(workdir)
  means = curves.mean_curves(logs, ("top1", "top3", "loss"))
  losses = paper_figures.losses(workdir, logs)
  plates = [Plate("train_and_valid_loss", loss_curves(losses), losses)]
  seen = curves.mean_curves(logs, tuple(curves.SEEN))
  if len(seen):
    plates.append(Plate("pool_seen", pool_seen(seen, looks), seen))
  if means["sampler"].value_counts().max() < 2:
    return plates  # evaluated at the end alone: a point is no curve
  panels = (("top1", "top-1 accuracy"), ("top3", "top-3 accuracy"))
  for stem, names in paper_figures.curve_groups(workdir, means).items():
    chosen = {name: metrics[name] for name in names}
    figure = learning_curves(chosen, panels, looks)
    data = means[means["sampler"].isin(names)]
    plates.append(Plate(stem, figure, data))
  costs = accuracy_against_cost(means, looks)
  plates.append(Plate("accuracy_against_cost", costs, means))
  return plates


def policy_plates(workdir: pathlib.Path) -> list[Plate]:
  """Figure 8 of the paper: a heat map of each policy that changed."""
  gallery = read_gallery(workdir)
  plates = []
  for name, policy in curves.moving_policies(workdir).items():
    arms = paper_figures.arms_of(workdir, name, policy.shape[1], gallery)
    figure = policy_map(policy, name, arms)
    data = policy.stack().rename("probability").reset_index()
    plates.append(Plate(f"policy_{name}", figure, data))
  return plates


def write_figures(workdir: pathlib.Path) -> list[str]:
  """Writes figures/<stem>.png and .csv of every figure; returns the stems."""
  plates = [
    *gallery_plates(read_gallery(workdir)),
    *curve_plates(workdir),
    *policy_plates(workdir),
  ]
  folder = workdir / "figures"
  folder.mkdir(exist_ok=True)
  for plate in plates:
    paths.check_plain(plate.stem, f"{workdir}: a figure")
    path = folder / f"{plate.stem}.png"
    files.write_file(
      path,
      lambda file, figure=plate.figure: figure.savefig(
        file, format="png", dpi=120
      ),
    )
    write_csv(path.with_suffix(".csv"), plate.data)
  return [plate.stem for plate in plates]


def write_csv(path: pathlib.Path, table: pd.DataFrame) -> None:
  """Writes a table, numbers to six digits."""
  text = table.to_csv(index=False, float_format="%.6g")
  files.write_file(path, lambda file: file.write(text.encode()))
