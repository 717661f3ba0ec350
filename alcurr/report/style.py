"""The same look for a sampler in every figure, static or interactive."""

from collections.abc import Iterable
from typing import NamedTuple

from matplotlib.colors import TABLEAU_COLORS

# Ten colors "#rrggbb"; the eleventh sampler has the first color, dashed.
COLORS = tuple(TABLEAU_COLORS.values())
# (matplotlib's name, plotly's name)
DASHES = (("-", "solid"), ("--", "dash"), (":", "dot"), ("-.", "dashdot"))
BAND_ALPHA = 0.1  # opacity of bands, which overlap


class Style(NamedTuple):
  """A color "#rrggbb", and a dash as matplotlib and plotly name it."""

  color: str
  line: str
  dash: str


def styles(names: Iterable[str]) -> dict[str, Style]:
  """Returns a style for each name; they repeat after forty."""
  looks = {}
  for i, name in enumerate(names):
    line, dash = DASHES[i // len(COLORS) % len(DASHES)]
    looks[name] = Style(COLORS[i % len(COLORS)], line, dash)
  return looks


def plain(text: str) -> str:
  """Escapes a name for matplotlib.

  Dollars would begin a formula, and legends skip names that begin with _.
  """
  text = text.replace("$", r"\$")
  return f" {text}" if text.startswith("_") else text
