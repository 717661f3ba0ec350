"""The same look for a sampler in every figure, static or interactive."""

import functools
import io
import re
import warnings
from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

import matplotlib
from absl import logging
from cycler import cycler
from matplotlib import font_manager
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font
from matplotlib.image import AxesImage
from matplotlib.text import Text

# Colors "#rrggbb" that differ for the color-blind too: a gray for the baseline,
# which is the first sampler, then those of Okabe and Ito. The eighth sampler
# has the first color, dashed.
COLORS = (
  *("#555b66", "#0072b2", "#d55e00", "#009e73"),
  *("#cc79a7", "#e69f00", "#56b4e9"),
)
WIDTH = 8.6  # inches of a figure that fills the page's column
_DPI = 144
CSS_DPI = 96  # pixels of a page in an inch
# (matplotlib's name, plotly's name)
DASHES = (("-", "solid"), ("--", "dash"), (":", "dot"), ("-.", "dashdot"))
# Families, not in color, of scripts that Matplotlib's own font lacks.
_OTHER_SCRIPTS = re.compile(
  r"(Noto Sans|Noto Emoji|Source Han Sans|WenQuanYi|Droid Sans Fallback|IPA"
  r"|Microsoft YaHei|Malgun|Meiryo|PingFang|Hiragino|Arial Unicode|Segoe UI"
  r"|Unifont|Nanum|Symbola)(?!.*Color)"
)
_FIRST_RARE = 0x250  # every font has the letters before
_MAX_CHARACTERS = 40  # of a name; longer ones would leave no room for axes
_reported: set[str] = set()
BAND_ALPHA = 0.1  # opacity of bands, which overlap


# What figures have in common: `@matplotlib.rc_context(style.LOOK)`.
LOOK = {
  "axes.axisbelow": True,
  "axes.edgecolor": "#9aa1ab",
  "axes.grid": True,
  "axes.labelcolor": "#3a4049",
  "axes.prop_cycle": cycler(color=COLORS[1:]),
  "axes.spines.right": False,
  "axes.spines.top": False,
  "axes.titlesize": "medium",
  "figure.titlesize": "medium",
  "font.size": 10,
  "grid.color": "#e6e9ed",
  "legend.frameon": False,
  "lines.linewidth": 1.8,
  "lines.markersize": 5,
  "xtick.color": "#9aa1ab",
  "xtick.labelcolor": "#3a4049",
  "ytick.color": "#9aa1ab",
  "ytick.labelcolor": "#3a4049",
}


class Style(NamedTuple):
  """A color "#rrggbb", and a dash as matplotlib and plotly name it."""

  color: str
  line: str
  dash: str


def styles(names: Iterable[str]) -> dict[str, Style]:
  """Returns a style for each name; they repeat after twenty-eight."""
  looks = {}
  for i, name in enumerate(names):
    line, dash = DASHES[i // len(COLORS) % len(DASHES)]
    looks[name] = Style(COLORS[i % len(COLORS)], line, dash)
  return looks


@functools.cache
def _font_families() -> list[str]:
  """Returns matplotlib's family, then those here that have other scripts."""
  names = sorted(set(font_manager.get_font_names()))
  return ["sans-serif", *filter(_OTHER_SCRIPTS.match, names)]


def kind(figure: Figure | None) -> str:
  """Returns "picture" of a figure with images or a color scale, else "chart".

  A chart may be shown in other colors.
  """
  colored = (AxesImage, QuadMesh)
  has_some = figure and any(figure.findobj(part) for part in colored)
  return "picture" if has_some else "chart"


class ShownFigure(Figure):
  """A figure that a notebook shows as an image.

  Matplotlib's own ones are shown only after `%matplotlib inline`.
  """

  def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
    file = io.BytesIO()
    save(self, file)
    # The size on the page, as the image has more pixels.
    width, height = (round(CSS_DPI * x) for x in self.get_size_inches())
    return file.getvalue(), {"width": width, "height": height}


def save(figure: Figure, file: BinaryIO) -> None:
  """Writes a PNG; logs one warning for characters that no font here has."""
  for text in figure.findobj(Text):
    text.set_fontfamily(_font_families())
  with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Glyph .* missing from")
    figure.savefig(file, format="png", dpi=_DPI)
  _warn_of_missing("".join(text.get_text() for text in figure.findobj(Text)))


def _warn_of_missing(text: str) -> None:
  rare = {c for c in text if ord(c) >= _FIRST_RARE} - _reported
  if not rare:
    return
  families = [font_manager.FontProperties(family=[n]) for n in _font_families()]
  paths = map(font_manager.findfont, families)
  known = set().union(*(get_font(path).get_charmap() for path in paths))
  if missing := {c for c in rare if ord(c) not in known}:
    _reported.update(missing)
    logging.warning(
      "No font here has %r: figures show boxes. Install one, such as Noto Sans "
      "CJK, and delete Matplotlib's list of fonts in %s.",
      "".join(sorted(missing)[:10]),
      matplotlib.get_cachedir(),
    )


def plain(text: str) -> str:
  """Shortens and escapes a name for matplotlib.

  Dollars would begin a formula, and legends skip names that begin with _.
  """
  text = " ".join(text.split())
  if len(text) > _MAX_CHARACTERS:
    text = f"{text[: _MAX_CHARACTERS - 12]}…{text[-11:]}"
  text = text.replace("$", r"\$")
  return f" {text}" if text.startswith("_") else text
