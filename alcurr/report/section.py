"""A part of the report that another module contributes."""

from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go


class Section(NamedTuple):
  """A titled table with a paragraph that says how to read it.

  `page.py` shows it and leaves the table as figures/<stem>.csv.
  """

  title: str
  text: str  # one paragraph, plain text
  table: pd.DataFrame  # shown as it is, numbers to four digits
  stem: str
  figure: go.Figure | None = None  # shown above the table
