"""A section of the page, and its files under figures/."""

import base64
import pathlib
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from matplotlib.figure import Figure

from alcurr.core import files
from alcurr.report import interactive, tables


class Section(NamedTuple):
  """A titled part of the page: text, then a figure, a table, or both."""

  title: str
  text: str  # one paragraph
  stem: str  # of its files under figures/
  data: pd.DataFrame  # written as figures/<stem>.csv
  table: pd.DataFrame | None = None  # shown; by default `data`, if no figure
  figure: Figure | None = None  # written as figures/<stem>.png
  chart: go.Figure | None = None  # shown instead of the PNG


def write_files(workdir: pathlib.Path, section: Section) -> list[pathlib.Path]:
  """Writes the figure and the data of a section; returns their paths."""
  csv = workdir / "figures" / f"{section.stem}.csv"
  csv.parent.mkdir(exist_ok=True)
  tables.write_csv(csv, section.data)
  if section.figure is None:
    return [csv]
  png = csv.with_suffix(".png")
  files.write_file(
    png, lambda file: section.figure.savefig(file, format="png", dpi=120)
  )
  return [png, csv]


def to_html(section: Section, paths: list[pathlib.Path], name: str) -> str:
  """Returns a section's figure as HTML, or "" if it has none.

  Args:
    section: of the page.
    paths: its files, as `write_files` returned them.
    name: id of the figure in the page.
  """
  if section.chart is not None:
    return Markup(interactive.to_html(section.chart, name))
  if section.figure is None:
    return ""
  source = base64.b64encode(paths[0].read_bytes()).decode()
  image = Markup('<img alt="{}" src="data:image/png;base64,{}">')
  return image.format(section.title, source)
