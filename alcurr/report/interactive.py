"""The interactive figure of the page: accuracy against cost, with plotly.

Plotly reads its texts as HTML, so names that come from data are escaped.
"""

import html
from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup

from alcurr.report.curves import COSTS, measured
from alcurr.report.style import BAND_ALPHA, Style
from alcurr.report.tables import headline


def accuracy(means: pd.DataFrame, looks: Mapping[str, Style]) -> go.Figure:
  """Draws `curves.mean_curves`; buttons choose the accuracy and the cost."""
  # The data of all traces: a sampler's line, then the outline of its band.
  x = {cost: [] for cost in COSTS if means[cost].notna().any()}
  labels = measured(means)
  y = {metric: [] for metric in labels}
  first = next(iter(x))
  figure = go.Figure()
  for name, mean in means.groupby("sampler", sort=False):
    for cost, traces in x.items():
      values = mean[cost].tolist()
      traces += [values, values + values[::-1]]
    for metric, traces in y.items():
      std = mean[f"{metric}_std"].fillna(0)
      upper, lower = mean[metric] + std, mean[metric] - std
      traces += [mean[metric].tolist(), [*upper, *lower[::-1]]]
    label = html.escape(name, quote=False)  # plotly shows quotes as they are
    line = {
      "mode": "lines+markers",
      "line": {"color": looks[name].color, "dash": looks[name].dash},
      "hovertemplate": "%{fullData.name}<br>%{x:,.4s}: %{y:.2%}<extra></extra>",
    }
    band = {
      "fill": "toself",
      "fillcolor": looks[name].color,
      "opacity": BAND_ALPHA,
      "line": {"width": 0},
      "showlegend": False,
      "hoverinfo": "skip",
    }
    for i, look in ((-2, line), (-1, band)):
      data = {"x": x[first][i], "y": y[headline(labels)][i]}
      figure.add_scatter(**data, name=label, legendgroup=label, **look)
  return figure.update_layout(
    updatemenus=[
      _buttons({COSTS[cost]: x[cost] for cost in x}, "x", 1.13),
      *[_buttons({labels[m]: y[m] for m in y}, "y", 1.02)] * (len(y) > 1),
    ],
    xaxis_exponentformat="SI",
    xaxis_title=COSTS[first],
    yaxis_title=labels[headline(labels)],
    yaxis_tickformat=".0%",
    template="plotly_white",
    # The page's own color, which may be dark.
    paper_bgcolor="rgba(0,0,0,0)",
    plot_bgcolor="rgba(0,0,0,0)",
    height=480 + 6 * len(figure.data),
    margin={"l": 60, "r": 10, "t": 90, "b": 60},
    legend={"orientation": "h", "tracegroupgap": 0, "y": -0.2},
  )


def _buttons(data: Mapping[str, list], axis: str, y: float) -> dict[str, Any]:
  """Returns buttons that choose the data of an axis by its title."""
  buttons = [
    {
      "label": title,
      "method": "update",
      "args": [
        {axis: values},
        {f"{axis}axis.title.text": title, f"{axis}axis.autorange": True},
      ],
    }
    for title, values in data.items()
  ]
  place = {"x": 0, "xanchor": "left", "y": y, "yanchor": "bottom"}
  return {"type": "buttons", "direction": "right", "buttons": buttons} | place


def to_html(figure: go.Figure, name: str) -> Markup:
  """Returns a figure, with the id `name`, for a page that has plotly.js."""
  text = figure.to_html(
    full_html=False,
    include_plotlyjs=False,
    div_id=name,
    config={
      "displaylogo": False,
      "responsive": True,
      # Its button would send the chart to Plotly's servers.
      "showSendToCloud": False,
      "plotlyServerURL": "",
      "modeBarButtonsToRemove": ["lasso2d", "select2d"],
    },
  )
  return Markup(text)
