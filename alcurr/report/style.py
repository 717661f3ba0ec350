"""One look for the same sampler in every figure, still or interactive."""

from collections.abc import Iterable
from typing import NamedTuple

# matplotlib's ten; the eleventh sampler has the first colour, dashed.
COLORS = (
  *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"),
  *("#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"),
)
# (matplotlib's word, plotly's word)
DASHES = (("-", "solid"), ("--", "dash"), (":", "dot"), ("-.", "dashdot"))


class Style(NamedTuple):
  color: str  # "#rrggbb"
  line: str  # a linestyle of matplotlib
  dash: str  # a dash of plotly


def styles(names: Iterable[str]) -> dict[str, Style]:
  """A look for each name, in order; forty names before one repeats."""
  looks = {}
  for i, name in enumerate(names):
    line, dash = DASHES[i // len(COLORS) % len(DASHES)]
    looks[name] = Style(COLORS[i % len(COLORS)], line, dash)
  return looks


def plain(text: str) -> str:
  """A name as matplotlib prints it letter by letter.

  Dollars would begin a formula, and a legend leaves out what begins with _.
  """
  text = text.replace("$", r"\$")
  return f" {text}" if text.startswith("_") else text
