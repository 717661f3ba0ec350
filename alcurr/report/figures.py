"""Learning curves and policy heat maps, from metrics.jsonl alone.

Each function returns a matplotlib figure, for a notebook or for a file.
"""

import json
import pathlib

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alcurr import writer
from alcurr.report.tables import sampler_names


def read_metrics(workdir: pathlib.Path) -> dict[str, pd.DataFrame]:
  """The rows of each sampler's metrics.jsonl, the baseline's first."""
  metrics = {}
  for name in sampler_names(workdir):
    path = workdir / "runs" / name / "metrics.jsonl"
    if path.exists():
      with path.open(encoding="utf-8") as file:
        metrics[name] = pd.DataFrame([json.loads(line) for line in file])
  return metrics


def learning_curves(
  metrics: dict[str, pd.DataFrame],
  panels: tuple[tuple[str, str], ...] = (
    ("top1", "top-1 accuracy"),
    ("loss", "loss"),
  ),
) -> Figure:
  """Valid metrics against examples seen, a panel each.

  Args:
    metrics: a table per sampler, of `read_metrics`.
    panels: (metric, axis label) pairs.
  """
  figure = Figure(figsize=(6 * len(panels) + 1.5, 4.5), layout="constrained")
  axes = figure.subplots(1, len(panels), squeeze=False)[0]
  for name, table in metrics.items():
    rows = table[table["valid"].notna()]
    for axis, (metric, label) in zip(axes, panels, strict=True):
      value = rows["valid"].map(lambda valid, key=metric: valid[key])
      curve = value.groupby(rows["examples_seen"]).agg(["mean", "std"])
      (line,) = axis.plot(curve.index, curve["mean"], label=name, marker=".")
      deviation = curve["std"].fillna(0)
      axis.fill_between(
        curve.index,
        curve["mean"] - deviation,
        curve["mean"] + deviation,
        color=line.get_color(),
        alpha=0.15,
        linewidth=0,
      )
      axis.set(xlabel="examples seen", ylabel=f"{label} on valid")
      axis.grid(alpha=0.3)
  # Beside the curves, which fill the axes when there are many samplers.
  figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper")
  trials = max(table["trial"].max() + 1 for table in metrics.values())
  figure.suptitle(
    f"Mean and standard deviation over {trials} trials", fontsize="medium"
  )
  return figure


def policy_map(table: pd.DataFrame, title: str) -> Figure:
  """How likely each arm was, over training: the mean over trials.

  Args:
    table: the sampler's rows, of `read_metrics`.
    title: of the figure.
  """
  policy = table.groupby("examples_seen")["policy"].agg(
    lambda rows: np.mean(np.stack(rows), axis=0)
  )
  grid = np.stack(policy).T  # [K, T]
  num_arms = len(grid)
  figure = Figure(figsize=(7, 4.5), layout="constrained")
  axis = figure.subplots()
  # The rows are means over chunks: each spans from the end of the one before.
  edges = np.concatenate([[0], policy.index.to_numpy()])
  mesh = axis.pcolormesh(
    edges, np.arange(num_arms + 1) + 0.5, grid, cmap="viridis", vmin=0
  )
  axis.set(title=title, xlabel="examples seen", ylabel="arm (1: easiest)")
  axis.set_yticks(np.arange(1, num_arms + 1, -(-num_arms // 12)))
  figure.colorbar(mesh, label=f"probability (uniform: {1 / num_arms:.3g})")
  return figure


def write_figures(workdir: pathlib.Path) -> None:
  """Writes figures/learning_curves.png and figures/policy_<sampler>.png."""
  metrics = read_metrics(workdir)
  figures = {"learning_curves": learning_curves(metrics)}
  for name, table in metrics.items():
    if len(table["policy"].iloc[0]) > 1:  # a single arm has nothing to show
      figures[f"policy_{name}"] = policy_map(table, name)
  for name, figure in figures.items():
    writer.write_file(
      workdir / "figures" / f"{name}.png",
      lambda file, figure=figure: figure.savefig(file, format="png", dpi=120),
    )
