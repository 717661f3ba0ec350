"""The interactive figure of the page: accuracy against cost, with plotly.

Plotly reads its texts as HTML, so names that come from data are escaped.
"""

import html
from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from alcurr.report.curves import ACCURACIES, COSTS
from alcurr.report.style import BAND_ALPHA, Style


def accuracy(means: pd.DataFrame, looks: Mapping[str, Style]) -> go.Figure:
  """Draws `curves.mean_curves`; buttons choose the accuracy and the cost."""
  known = [cost for cost in COSTS if means[cost].notna().any()]
  # Two traces for each sampler: its line, then the outline of its band.
  x = {cost: [] for cost in known}
  y = {metric: [] for metric in ACCURACIES}
  traces = []
  for name, mean in means.groupby("sampler", sort=False):
    for cost in known:
      values = mean[cost].tolist()
      x[cost] += [values, values + values[::-1]]
    for metric in ACCURACIES:
      std = mean[f"{metric}_std"].fillna(0)
      upper, lower = mean[metric] + std, mean[metric] - std
      y[metric] += [mean[metric].tolist(), [*upper, *lower[::-1]]]
    label = html.escape(name, quote=False)  # plotly shows quotes as they are
    shared = {"name": label, "legendgroup": label}
    line = shared | {
      "mode": "lines+markers",
      "line": {"color": looks[name].color, "dash": looks[name].dash},
      "hovertemplate": "%{fullData.name}<br>%{x:,.4s}: %{y:.4f}<extra></extra>",
    }
    band = shared | {
      "fill": "toself",
      "fillcolor": looks[name].color,
      "opacity": BAND_ALPHA,
      "line": {"width": 0},
      "showlegend": False,
      "hoverinfo": "skip",
    }
    traces += [line, band]
  figure = go.Figure()
  points = zip(x[known[0]], y["top1"], strict=True)
  for trace, (trace_x, trace_y) in zip(traces, points, strict=True):
    figure.add_scatter(x=trace_x, y=trace_y, **trace)
  figure.update_layout(
    updatemenus=[
      _buttons({COSTS[cost]: x[cost] for cost in known}, "x", 0),
      _buttons({ACCURACIES[metric]: y[metric] for metric in y}, "y", 0.62),
    ],
    xaxis_title=COSTS[known[0]],
    yaxis_title=ACCURACIES["top1"],
    template="plotly_white",
    height=max(480, 75 + 10 * len(traces)),
    margin={"l": 70, "r": 20, "t": 60, "b": 60},
    legend={"tracegroupgap": 0},
  )
  return figure


def _buttons(data: Mapping[str, list], axis: str, x: float) -> dict[str, Any]:
  """Returns buttons that replace the data of an axis, by its title."""
  buttons = [
    {
      "label": title.split()[0],
      "method": "update",
      "args": [
        {axis: values},
        {f"{axis}axis.title.text": title, f"{axis}axis.autorange": True},
      ],
    }
    for title, values in data.items()
  ]
  place = {"x": x, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
  return {"type": "buttons", "direction": "right", "buttons": buttons} | place


def to_html(figure: go.Figure, name: str) -> str:
  """Returns a figure, by its id, as part of a page with plotly.js in it."""
  return figure.to_html(
    full_html=False,
    include_plotlyjs=False,
    include_mathjax=False,
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
