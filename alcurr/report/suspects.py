"""Labels that are probably wrong: the table of a run and its first images.

`alcurr.experiments.suspects` writes both to the run's folder.
"""

import pathlib
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from alcurr.core import files, specs
from alcurr.core.errors import UserError
from alcurr.data import cache
from alcurr.report import drawings, tables
from alcurr.report.style import LOOK, WIDTH, plain

TABLE, IMAGES = "suspects.csv", "suspects.npz"
SHOWN = 24  # images
# Above it a label is called wrong.
THRESHOLD = 0.5
_COLUMNS = 6  # of images
_NEEDED = {"given_label", "suggested_label", "probability", "score"}
_TEXTS = (
  *("split", "source", "path", "file", "key"),
  *("given_label", "suggested_label"),
)


def judging_runs(workdir: pathlib.Path) -> dict[str, dict[str, Any]]:
  """Returns what result.json says of wrong labels, by finished sampler."""
  results = tables.read_results(workdir)
  return {
    result["sampler"]: result["wrong_labels"]
    for result in results
    if "wrong_labels" in result
  }


def read_suspects(
  workdir: pathlib.Path, name: str | None = None
) -> pd.DataFrame:
  """Returns the table of a sampler, by default of the first that judges labels.

  Raises:
    UserError: there is no such sampler, it does not judge labels, or all its
      trials diverged.
  """
  known = judging_runs(workdir)
  diverged = [
    result["sampler"]
    for result in tables.read_results(workdir)
    if len(tables.diverged_trials(result)) == len(result["trials"])
  ]
  if name in diverged or (diverged and not known):
    text = f"every trial of {name or ', '.join(diverged)} diverged"
    raise UserError("diverged", str(workdir), f"{text}: no label is judged")
  if not known:
    text = "no finished sampler judges labels; expected one such as label_trust"
    raise UserError("unsupported", str(workdir), text)
  if name is None:
    name = next(iter(known))
  specs.check_choice("name", name, known)
  path = workdir / "runs" / name / TABLE
  try:
    table = tables.read_csv(path, _TEXTS)
  except FileNotFoundError as error:
    text = f"expected this file of {name}, which has finished"
    raise UserError("missing", str(path), text) from error
  except cache.UNREADABLE as error:
    raise UserError("damaged", str(path), f"no table ({error})") from error
  if lacking := _NEEDED - {*table}:
    text = f"expected the columns {', '.join(sorted(lacking))} too"
    raise UserError("damaged", str(path), text)
  for column in table:
    if column in _TEXTS:
      table[column] = table[column].fillna("")
    elif column in ("probability", "score"):
      table[column] = table[column].astype(float)
    # Rows that only some of several sources have.
    elif column in ("index", "line", "row") and table[column].isna().any():
      table[column] = table[column].astype("Int64")
  table.attrs |= known[name]
  return table


def shown_table(table: pd.DataFrame) -> pd.DataFrame:
  """Returns the first rows, whose labels are more likely wrong than not."""
  first = table.head(SHOWN)
  return first[first["probability"] > THRESHOLD]


@matplotlib.rc_context(LOOK)
def draw_suspects(
  workdir: pathlib.Path, name: str, shown: pd.DataFrame
) -> Figure | None:
  """Draws the images of a sampler's most suspect labels, if there are any."""
  path = workdir / "runs" / name / IMAGES
  if not len(shown) or not path.exists():
    return None
  try:
    files.check_regular(path)
    with np.load(path, allow_pickle=False) as file:
      image = file["image"]
  except cache.UNREADABLE as error:
    raise UserError("damaged", str(path), f"no images ({error})") from error
  if not image.size:
    return None
  height = -(-len(shown) // _COLUMNS)
  figure = Figure(figsize=(WIDTH, 1.8 * height), layout="constrained")
  axes = figure.subplots(height, _COLUMNS, squeeze=False).ravel()
  for axis in axes:
    axis.set_axis_off()
  rows = zip(axes, image, shown.to_dict("records"), strict=False)
  for axis, picture, row in rows:
    axis.imshow(drawings.montage(picture[None], 1))
    given, suggested = row["given_label"], row["suggested_label"]
    text = f"{plain(f'{given} → {suggested}')}\n{row['probability']:.0%}"
    axis.set_title(text, fontsize="x-small")
  return figure
