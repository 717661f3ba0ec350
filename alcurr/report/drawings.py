"""Figures of training examples and of difficulty by class."""

from collections.abc import Iterable, Mapping, Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alcurr.report.gallery import QUANTILES, Gallery
from alcurr.report.style import COLORS, LOOK, WIDTH, plain


def montage(image: np.ndarray, columns: int) -> np.ndarray:
  """Arranges images [n, h, w, C] uint8 in rows, each with a white border.

  C = 1 is ink on black, shown as ink on white. Returns [rows * (h + 2),
  columns * (w + 2), 3] uint8, with at least one row; gaps are white.
  """
  if image.shape[-1] == 1:
    image = np.repeat(255 - image, 3, axis=-1)
  rows = max(1, -(-len(image) // columns))
  blank = np.full((rows * columns - len(image), *image.shape[1:]), 255)
  border = ((0, 0), (1, 1), (1, 1), (0, 0))
  tiles = np.concatenate([image, blank.astype(np.uint8)])
  tiles = np.pad(tiles, border, constant_values=255)
  height, width = tiles.shape[1:3]
  grid = tiles.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
  return grid.reshape(rows * height, columns * width, 3)


def difficulty_table(gallery: Gallery) -> pd.DataFrame:
  """Returns count, quantiles and mean of each class with examples.

  The easiest class is the first.
  """
  names, classes = gallery.info["class_names"], gallery.info["classes"]
  rows = [
    {"class": name, "count": record["count"]} | record["difficulty"]
    for name, record in zip(names, classes, strict=True)
    if record.get("difficulty")
  ]
  table = pd.DataFrame(rows, columns=["class", "count", *QUANTILES, "mean"])
  return table.sort_values("q50", ignore_index=True, kind="stable")


@matplotlib.rc_context(LOOK)
def difficulty_by_class(table: pd.DataFrame) -> Figure:
  """Draws a box plot of `difficulty_table`."""
  parts = ("whislo", "q1", "med", "q3", "whishi")  # matplotlib's names
  names = dict(zip(QUANTILES, parts, strict=True))
  boxes = table.rename(columns=names).to_dict("records")
  for box in boxes:
    box |= {"label": plain(box["class"]), "fliers": []}
  size = (WIDTH, 1 + 0.2 * len(boxes))
  figure = Figure(figsize=size, layout="constrained")
  axis = figure.subplots()
  ink, fill, mark = COLORS[0], COLORS[6], COLORS[2]
  axis.bxp(
    boxes,
    orientation="horizontal",
    widths=0.6,
    showmeans=True,
    patch_artist=True,
    boxprops={"facecolor": fill, "edgecolor": "none"},
    whiskerprops={"color": ink, "lw": 1},
    capprops={"color": ink, "lw": 1},
    medianprops={"color": ink, "lw": 2},
    meanprops={"marker": "^", "mfc": mark, "mec": "none", "ms": 5},
  )
  axis.set(
    xlabel="difficulty (line: median, triangle: mean, whiskers: 5 % and 95 %)",
    ylim=(0.4, len(boxes) + 0.6),
  )
  axis.tick_params(axis="y", labelsize="small")
  axis.grid(visible=False, axis="y")
  return figure


def drawings_table(
  gallery: Gallery, kinds: Iterable[str], labels: Iterable[int]
) -> pd.DataFrame:
  """Returns class, kind, place and difficulty of some examples.

  The last columns are those by which users find them in their data.
  """
  # Galleries of older versions have none.
  found = gallery.info.get("found", {})
  rows = [
    (
      *(name, kind, place, gallery.difficulty[position]),
      *(column[position] for column in found.values()),
    )
    for label in labels
    for kind in kinds
    for place, position in enumerate(gallery.info["drawings"][str(label)][kind])
    for name in [gallery.info["class_names"][label]]
  ]
  columns = ["class", "kind", "place", "difficulty", *found]
  return pd.DataFrame(rows, columns=columns)


@matplotlib.rc_context(LOOK | {"axes.grid": False})
def draw_classes(
  gallery: Gallery, titles: Mapping[str, str], labels: Sequence[int]
) -> Figure | None:
  """Draws examples: a row per class of `labels`, a column per kind of `titles`.

  The classes must have examples in the gallery. None: they have no images.
  """
  if not gallery.image.size:
    return None
  width = WIDTH if len(titles) > 1 else 0.6 * WIDTH
  size = (width, 0.75 * len(labels) + 0.5)
  figure = Figure(figsize=size, layout="constrained")
  axes = figure.subplots(len(labels), len(titles), squeeze=False)
  for row, label in zip(axes, labels, strict=True):
    for axis, kind in zip(row, titles, strict=True):
      positions = gallery.info["drawings"][str(label)][kind]
      axis.imshow(montage(gallery.image[positions], 8))
      values = gallery.difficulty[positions]
      span = f"difficulty {values.min():.2g} to {values.max():.2g}"
      axis.set_xlabel(span, fontsize="x-small")
      axis.set(xticks=[], yticks=[])
      axis.spines[:].set_visible(False)
    name = plain(gallery.info["class_names"][label])
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
  for axis, title in zip(axes[0], titles.values(), strict=True):
    axis.set_title(title)
  return figure
