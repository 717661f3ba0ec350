"""Figures made of real drawings, and difficulty by class, from the gallery."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.image
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alcurr.report.gallery import QUANTILES, Gallery
from alcurr.report.style import plain


def montage(image: np.ndarray, columns: int) -> np.ndarray:
  """Drawings in rows of so many, with a white rim, dark on light.

  Args:
    image: [n, h, w, C] uint8; C = 1 is ink on black, shown as ink on white.
    columns: drawings in a row.

  Returns:
    [rows * (h + 2), columns * (w + 2), 3] uint8.
  """
  if image.shape[-1] == 1:
    image = np.repeat(255 - image, 3, axis=-1)
  rows = -(-len(image) // columns)
  blank = np.full((rows * columns - len(image), *image.shape[1:]), 255)
  cells = np.concatenate([image, blank.astype(np.uint8)])
  rim = ((0, 0), (1, 1), (1, 1), (0, 0))
  cells = np.pad(cells, rim, constant_values=255)
  height, width = cells.shape[1:3]
  grid = cells.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
  return grid.reshape(rows * height, columns * width, 3)


def data_uri(image: np.ndarray) -> str:
  """A picture [h, w, 3] uint8 as the address of itself, for a page."""
  file = io.BytesIO()
  matplotlib.image.imsave(file, image, format="png")
  return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def arm_strips(
  gallery: Gallery | None, partition: str, num_arms: int, count: int = 4
) -> list[np.ndarray] | None:
  """A strip of up to `count` drawings for each arm of a partition.

  None where the gallery does not hold a partition of `num_arms` arms.
  """
  if gallery is None:
    return None
  arms = gallery.info["partitions"].get(partition)
  if arms is None or len(arms["drawings"]) != num_arms:
    return None
  strips = []
  for positions in arms["drawings"]:
    image = np.zeros((count, *gallery.image.shape[1:]), np.uint8)
    if image.shape[-1] == 3:
      image[:] = 255  # an arm of fewer drawings is filled up in white
    image[: len(positions[:count])] = gallery.image[positions[:count]]
    strips.append(montage(image, count))
  return strips


def difficulty_table(gallery: Gallery) -> pd.DataFrame:
  """class, count, quantiles and mean of difficulty; the easiest first.

  Classes without examples are left out.
  """
  rows = [
    {"class": name, "count": record["count"]} | record["difficulty"]
    for name, record in zip(
      gallery.info["class_names"], gallery.info["classes"], strict=True
    )
    if record.get("difficulty")
  ]
  columns = ["class", "count", *QUANTILES, "mean"]
  table = pd.DataFrame(rows, columns=columns)
  return table.sort_values("q50", ignore_index=True, kind="stable")


def difficulty_by_class(table: pd.DataFrame) -> Figure:
  """Boxes of the quartiles, whiskers of the 5 % and 95 % quantiles."""
  boxes = [
    {
      "label": plain(row["class"]),
      "med": row["q50"],
      "q1": row["q25"],
      "q3": row["q75"],
      "whislo": row["q05"],
      "whishi": row["q95"],
      "mean": row["mean"],
      "fliers": [],
    }
    for row in table.to_dict("records")
  ]
  height = 1.5 + 0.2 * len(boxes)
  figure = Figure(figsize=(7, height), layout="constrained")
  axis = figure.subplots()
  axis.bxp(
    boxes,
    orientation="horizontal",
    widths=0.6,
    showmeans=True,
    meanprops={"marker": ".", "markerfacecolor": "k", "markeredgecolor": "k"},
  )
  axis.set(
    xlabel="difficulty (line: median, dot: mean, whiskers: 5 % and 95 %)",
    ylim=(0.4, len(boxes) + 0.6),
  )
  axis.tick_params(axis="y", labelsize="small")
  axis.grid(axis="x", alpha=0.3)
  return figure


def drawings_table(
  gallery: Gallery, kinds: Sequence[str], labels: Sequence[int]
) -> pd.DataFrame:
  """The drawings of some classes: class, kind, place, index, difficulty."""
  rows = [
    {
      "class": gallery.info["class_names"][label],
      "kind": kind,
      "place": place,
      "index": int(gallery.index[position]),
      "difficulty": float(gallery.difficulty[position]),
    }
    for label in labels
    for kind in kinds
    for place, position in enumerate(of_class(gallery, label)[kind])
  ]
  return pd.DataFrame(rows)


def of_class(gallery: Gallery, label: int) -> Mapping[str, Any]:
  return gallery.info["drawings"][str(label)]


def shown_classes(gallery: Gallery) -> list[int]:
  """The classes whose drawings were kept, the hardest first."""
  return [int(label) for label in gallery.info.get("drawings", {})]


def least_and_most(gallery: Gallery) -> Figure:
  """Least and most informative drawings, a row for each class kept."""
  labels = shown_classes(gallery)
  figure = Figure(figsize=(11, 1.0 * len(labels) + 0.6), layout="constrained")
  axes = figure.subplots(len(labels), 2, squeeze=False)
  for row, label in zip(axes, labels, strict=True):
    for axis, kind in zip(row, ("least", "most"), strict=True):
      positions = of_class(gallery, label)[kind]
      axis.imshow(montage(gallery.image[positions], 8))
      _frame(axis)
      values = gallery.difficulty[positions]
      span = f"{values.min():.2g} to {values.max():.2g}"
      axis.set_xlabel(f"difficulty {span}", fontsize="x-small")
    name = plain(gallery.info["class_names"][label])
    row[0].set_ylabel(
      name, rotation=0, ha="right", va="center", fontsize="small"
    )
  axes[0, 0].set_title("least informative", fontsize="medium")
  axes[0, 1].set_title("most informative", fontsize="medium")
  return figure


def hard_beside_easy(gallery: Gallery) -> Figure:
  """Drawings at random of the hardest class and of the easiest."""
  figure = Figure(figsize=(8, 2.6), layout="constrained")
  pair = (("hardest", "hard"), ("easiest", "easy"))
  axes = figure.subplots(1, 2, gridspec_kw={"wspace": 0.15})
  for axis, (key, word) in zip(axes, pair, strict=True):
    label = gallery.info[key]
    axis.imshow(montage(gallery.image[of_class(gallery, label)["random"]], 4))
    _frame(axis)
    name = plain(gallery.info["class_names"][label])
    median = gallery.info["classes"][label]["difficulty"]["q50"]
    axis.set_title(f"{word}: {name}", fontsize="medium")
    axis.set_xlabel(f"median difficulty {median:.3g}", fontsize="small")
  return figure


def _frame(axis: Any) -> None:
  """An axis with neither ticks nor lines around it."""
  axis.set(xticks=[], yticks=[])
  axis.spines[:].set_visible(False)
