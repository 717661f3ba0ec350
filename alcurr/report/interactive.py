"""The interactive figure of the page: accuracy against cost, with plotly.

Plotly reads its texts as HTML, so names that come from data are escaped.
"""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from alcurr.report.curves import ACCURACIES, COSTS
from alcurr.report.style import Style, band_alpha


def accuracy(means: pd.DataFrame, looks: Mapping[str, Style]) -> go.Figure:
  """Draws accuracy against cost; buttons choose the accuracy and the cost.

  Args:
    means: of `curves.mean_curves`.
    looks: by sampler.
  """
  known = [cost for cost in COSTS if means[cost].notna().any()]
  groups = list(means.groupby("sampler", sort=False))
  # Two traces for each sampler: its line, then its band.
  x = {c: [v for _, m in groups for v in _x(m, c)] for c in known}
  y = {a: [v for _, m in groups for v in _y(m, a)] for a in ACCURACIES}
  figure = go.Figure()
  for i, (name, _) in enumerate(groups):
    label = html.escape(name, quote=False)  # plotly shows quotes as they are
    figure.add_scatter(
      x=x[known[0]][2 * i],
      y=y["top1"][2 * i],
      name=label,
      legendgroup=label,
      mode="lines+markers",
      line={"color": looks[name].color, "dash": looks[name].dash},
      hovertemplate="%{fullData.name}<br>%{x:,.4s}: %{y:.4f}<extra></extra>",
    )
    figure.add_scatter(
      x=x[known[0]][2 * i + 1],
      y=y["top1"][2 * i + 1],
      fill="toself",
      fillcolor=looks[name].color,
      opacity=band_alpha(len(groups)),
      line={"width": 0},
      legendgroup=label,
      showlegend=False,
      hoverinfo="skip",
    )
  figure.update_layout(
    updatemenus=[
      _buttons({COSTS[cost]: x[cost] for cost in known}, "x", 0),
      _buttons({ACCURACIES[metric]: y[metric] for metric in y}, "y", 0.62),
    ],
    xaxis_title=COSTS[known[0]],
    yaxis_title=ACCURACIES["top1"],
    template="plotly_white",
    height=max(480, 150 + 20 * len(groups)),
    margin={"l": 70, "r": 20, "t": 60, "b": 60},
    legend={"tracegroupgap": 0},
  )
  return figure


def _x(mean: pd.DataFrame, cost: str) -> tuple[list, list]:
  """Returns the x of a line, and of the outline of its band."""
  x = mean[cost].tolist()
  return x, x + x[::-1]


def _y(mean: pd.DataFrame, metric: str) -> tuple[list, list]:
  """Returns the y of a line, and of the outline of its band."""
  deviation = mean[f"{metric}_std"].fillna(0)
  upper, lower = mean[metric] + deviation, mean[metric] - deviation
  return mean[metric].tolist(), np.concatenate([upper, lower[::-1]]).tolist()


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
  return {
    "type": "buttons",
    "direction": "right",
    "buttons": buttons,
    "x": x,
    "xanchor": "left",
    "y": 1.02,
    "yanchor": "bottom",
  }


def to_html(figure: go.Figure, name: str) -> str:
  """Returns a figure as part of a page that contains plotly.js once.

  Args:
    figure: to show.
    name: its id in the page.
  """
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
