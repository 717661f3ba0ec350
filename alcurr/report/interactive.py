"""The same figures to look into: plotly, with hover, zoom and a legend.

Names that come from data are escaped, for plotly reads its texts as HTML.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from alcurr.report import curves
from alcurr.report.drawings import data_uri
from alcurr.report.figures import band_alpha
from alcurr.report.gallery import MAX_ARMS
from alcurr.report.paper_figures import ArmLabels
from alcurr.report.style import Style

METRICS = {"top1": "top-1 accuracy on valid", "top3": "top-3 accuracy on valid"}


def escape(name: str) -> str:
  """A name as plotly prints it letter by letter; it leaves quotes alone."""
  return html.escape(name, quote=False)


def accuracy(
  means: pd.DataFrame,
  looks: Mapping[str, Style],
  costs: Sequence[str] = tuple(curves.COSTS),
  metrics: Mapping[str, str] = METRICS,
) -> go.Figure:
  """Accuracy against a cost; buttons choose the accuracy and the cost.

  Args:
    means: of `curves.mean_curves`.
    looks: of each sampler.
    costs: of `curves.COSTS`, the first is shown first.
    metrics: the accuracies, or other columns of `means` with the names of
      their axes; the first is shown first.
  """
  first = next(iter(metrics))
  groups = list(means.groupby("sampler", sort=False))
  figure = go.Figure()
  for name, mean in groups:
    x, y = mean[costs[0]], mean[first]
    _line(figure, name, x, y, looks[name])
    edges = _edges(mean, first)
    _band(figure, name, x, edges, looks[name], band_alpha(len(groups)))
  menus = []
  known = [cost for cost in costs if means[cost].notna().any()]
  if len(known) > 1:
    menus.append(_buttons([_cost_button(cost, groups) for cost in known], 0))
  buttons = [_metric_button(*metric, groups) for metric in metrics.items()]
  menus.append(_buttons(buttons, 0.62 if len(known) > 1 else 0))
  figure.update_layout(
    updatemenus=menus,
    xaxis_title=curves.COSTS[costs[0]],
    yaxis_title=metrics[first],
    hovermode="closest",
  )
  return _finish(figure, height=max(480, 150 + 20 * len(groups)))


def _line(figure, name, x, y, look: Style, **changes: Any) -> None:
  label = escape(name)
  trace = {
    "x": x,
    "y": y,
    "name": label,
    "legendgroup": label,
    "mode": "lines+markers",
    "line": {"color": look.color, "dash": look.dash},
    "hovertemplate": "%{fullData.name}<br>%{x:,.4s}: %{y:.4f}<extra></extra>",
  }
  figure.add_scatter(**trace | changes)


def _around(values: pd.Series) -> np.ndarray:
  """There and back again: the x of a band."""
  return np.concatenate([values, values[::-1]])


def _edges(mean: pd.DataFrame, metric: str) -> np.ndarray:
  """The upper edge there and the lower edge back: the y of a band."""
  deviation = mean[f"{metric}_std"].fillna(0)
  upper, lower = mean[metric] + deviation, mean[metric] - deviation
  return np.concatenate([upper, lower[::-1]])


def _band(figure, name, x, edges, look: Style, alpha: float) -> None:
  figure.add_scatter(
    x=_around(x),
    y=edges,
    fill="toself",
    fillcolor=look.color,
    opacity=alpha,
    line={"width": 0},
    legendgroup=escape(name),
    showlegend=False,
    hoverinfo="skip",
  )


def _cost_button(cost: str, groups: list) -> dict[str, Any]:
  """Moves every line and band to another x axis."""
  x = [x for _, mean in groups for x in (mean[cost], _around(mean[cost]))]
  title = curves.COSTS[cost]
  return {
    "label": title.split()[0],
    "method": "update",
    "args": [
      {"x": [np.asarray(values).tolist() for values in x]},
      {"xaxis.title.text": title, "xaxis.autorange": True},
    ],
  }


def _metric_button(metric: str, title: str, groups: list) -> dict[str, Any]:
  """Shows another metric with every line and band."""
  y = [y for _, mean in groups for y in (mean[metric], _edges(mean, metric))]
  return {
    "label": title.split()[0],
    "method": "update",
    "args": [
      {"y": [np.asarray(values).tolist() for values in y]},
      {"yaxis.title.text": title, "yaxis.autorange": True},
    ],
  }


def _buttons(buttons: list[dict[str, Any]], x: float) -> dict[str, Any]:
  return {
    "type": "buttons",
    "direction": "right",
    "buttons": buttons,
    "showactive": True,
    "x": x,
    "xanchor": "left",
    "y": 1.02,
    "yanchor": "bottom",
  }


def losses(table: pd.DataFrame, looks: Mapping[str, Style]) -> go.Figure:
  """Training loss (thin lines) against valid loss (with markers).

  Args:
    table: of `roles.losses`.
    looks: of each sampler.
  """
  figure = go.Figure()
  groups = list(table.groupby("sampler", sort=False))
  for name, rows in groups:
    x, y = rows["examples_seen"], rows["train_loss"]
    thin = {"color": looks[name].color, "width": 1}
    # Beneath its valid loss, with which the legend shows and hides it.
    _line(
      *(figure, name, x, y, looks[name]),
      mode="lines",
      line=thin,
      opacity=0.6,
      showlegend=False,
    )
    valid = rows.dropna(subset="valid_loss")
    x, y = valid["examples_seen"], valid["valid_loss"]
    _line(figure, name, x, y, looks[name], showlegend=True)
  figure.update_layout(xaxis_title="examples seen", yaxis_title="loss")
  return _finish(figure, height=max(420, 90 + 20 * len(groups)))


def difficulty(table: pd.DataFrame) -> go.Figure:
  """Boxes of difficulty by class, the hardest above.

  Args:
    table: of `drawings.difficulty_table`.
  """
  names = [escape(name) for name in table["class"]]
  box = go.Box(
    y=names,
    lowerfence=table["q05"],
    q1=table["q25"],
    median=table["q50"],
    q3=table["q75"],
    upperfence=table["q95"],
    mean=table["mean"],
    orientation="h",
    name="",
    boxmean=True,
    line={"width": 1, "color": "#1f77b4"},
  )
  figure = go.Figure(box)
  figure.update_layout(
    xaxis_title="difficulty (box: quartiles, whiskers: 5 % and 95 %)",
    yaxis={"type": "category", "dtick": 1},
    showlegend=False,
  )
  return _finish(figure, height=110 + 18 * len(table))


def policy(table: pd.DataFrame, title: str, arms: ArmLabels) -> go.Figure:
  """The heat map of a policy with drawings of each arm beside its row.

  Args:
    table: of `curves.policy_curve`, examples seen x arm.
    title: of the figure.
    arms: drawings and names.
  """
  num_arms = table.shape[1]
  strips = arms.strips if num_arms <= MAX_ARMS else None
  heat = go.Heatmap(
    # The rows are means over chunks: n + 1 edges for n columns.
    x=[0, *table.index],
    y=list(range(1, num_arms + 1)),
    z=table.to_numpy().T,
    zmin=0,
    # An even policy is to lie in the middle of the colours.
    zmax=max(table.to_numpy().max(), 2 / num_arms),
    colorscale="Viridis",
    colorbar={"title": {"text": "probability"}},
    hovertemplate="arm %{y}, %{x} examples: %{z:.4f}<extra></extra>",
  )
  figure = go.Figure(heat)
  axis: dict[str, Any] = {"title": {"text": arms.axis}}
  if num_arms <= MAX_ARMS:
    axis["dtick"] = 1
  if arms.names:
    axis["tickvals"] = list(range(1, num_arms + 1))
    axis["ticktext"] = [escape(name) for name in arms.names]
  figure.update_layout(
    title={"text": escape(title)},
    xaxis={"title": {"text": "examples seen"}},
    yaxis=axis,
  )
  if strips:
    figure.update_layout(xaxis_domain=[0, 0.82], images=_images(strips))
    # The pictures have no trace, and a row without one would be cut.
    figure.update_yaxes(range=[0.5, num_arms + 0.5])
  row = 36 if strips else 18
  return _finish(figure, height=max(380, 130 + row * num_arms))


def _images(strips: Sequence[np.ndarray]) -> list[dict[str, Any]]:
  """A picture at the height of each arm's row, right of the map."""
  return [
    {
      "source": data_uri(strip),
      "xref": "paper",
      "yref": "y",
      "x": 0.83,
      "y": k,
      "sizex": 0.17,
      "sizey": 0.95,
      "xanchor": "left",
      "yanchor": "middle",
      "sizing": "contain",
    }
    for k, strip in enumerate(strips, start=1)
  ]


def _finish(figure: go.Figure, height: int) -> go.Figure:
  figure.update_layout(
    template="plotly_white",
    height=height,
    margin={"l": 70, "r": 20, "t": 60, "b": 60},
    legend={"tracegroupgap": 0},
  )
  return figure


def to_html(figure: go.Figure, name: str) -> str:
  """A figure as a piece of a page that holds plotly.js once.

  Args:
    figure: what to show.
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
