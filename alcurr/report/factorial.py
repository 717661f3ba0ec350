"""What each level of each factor of a designed experiment is worth.

The config says of which level of each factor every sampler is: each sampler
is a cell of the design, and two cells that differ in a single factor are a
matched pair.
"""

import pathlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from alcurr.core import files
from alcurr.report import curves, tables
from alcurr.report.section import Section

COLUMNS = ("factor", "level", "instead of", "where", "pairs", "effect, points")

Factors = Mapping[str, Mapping[str, str]]  # sampler -> factor -> level


class Contrast(NamedTuple):
  """A level against the first of its factor, with the pairs of cells."""

  factor: str
  level: str
  first: str
  where: str  # "" or "<other factor>=<level>"
  pairs: list[tuple[str, str]]  # samplers of the level and of the first


def read_design(
  workdir: pathlib.Path,
) -> tuple[dict[str, dict[str, str]], dict[str, list[str]]]:
  """The cells and the levels of a design; both empty where there is none.

  The config has `factors`, the levels of each, of which the first is what the
  others are compared with; and `cells`, each sampler's level of each factor.
  """
  config = files.read_json(workdir / "config.json")
  cells = {
    name: {factor: str(level) for factor, level in cell.items()}
    for name, cell in (config.get("cells") or {}).items()
  }
  factors = config.get("factors") or {}
  return cells, {k: list(map(str, v)) for k, v in factors.items()}


def _pairs(
  factors: Factors, factor: str, level: str, first: str
) -> list[tuple[str, str]]:
  """The cells of two levels that agree in every other factor."""

  def others(cell: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in cell.items() if k != factor}

  return [
    (mine, theirs)
    for mine, cell in factors.items()
    for theirs, other in factors.items()
    if cell.get(factor) == level
    and other.get(factor) == first
    and others(cell) == others(other)
  ]


def contrasts(
  factors: Factors, levels: Mapping[str, list[str]]
) -> Iterator[Contrast]:
  """All levels against the first of their factor, where any cells match.

  Over all pairs, then within each level of each other factor on which the
  pairs differ.

  Args:
    factors: of the cells to compare.
    levels: by factor, that which the others are compared with first.
  """
  for factor, (first, *rest) in levels.items():
    for level in rest:
      pairs = _pairs(factors, factor, level, first)
      if pairs:
        yield Contrast(factor, level, first, "", pairs)
      for other in (f for f in levels if f != factor):
        for there in levels[other]:
          within = [p for p in pairs if factors[p[0]].get(other) == there]
          if 0 < len(within) < len(pairs):
            where = f"{other}={there}"
            yield Contrast(factor, level, first, where, within)


def _lead(workdir: pathlib.Path, name: str, base: str) -> np.ndarray:
  """A sampler's top-1 less that of its baseline, by example: [S, N]."""
  mine, theirs = (tables.per_example(workdir, n)["top1"] for n in (name, base))
  return (mine - theirs).astype(np.float32)


def effects_table(workdir: pathlib.Path) -> pd.DataFrame:
  """The mean difference in lead over each contrast's pairs, in points.

  A sampler's lead is its test top-1 less that of its own baseline: what a
  norm or a batch size does to both is not its merit. Of the samplers that
  have finished. The interval is that of
  `tables.paired_bootstrap`, over trials and test examples, of the per-example
  difference averaged over the pairs: the cells are not resampled, they are
  those of the design.

  Returns:
    A row per contrast, in the order of `contrasts`; empty without factors.
  """
  # All levels: the first stays so while its cells are unfinished.
  factors, levels = read_design(workdir)
  finished = curves.read_baselines(workdir)
  bases = {
    name: base
    for name, base in finished.items()
    if name in factors and base in finished
  }
  factors = {name: factors[name] for name in bases}
  lead = {name: _lead(workdir, name, base) for name, base in bases.items()}
  rows = []
  for contrast in contrasts(factors, levels):
    # A running sum of whole numbers, exact in float32.
    total = np.zeros_like(lead[contrast.pairs[0][0]])
    for mine, theirs in contrast.pairs:
      total += lead[mine]
      total -= lead[theirs]
    interval = tables.paired_bootstrap(total / len(contrast.pairs))
    rows.append(
      (*contrast[:4], len(contrast.pairs), *(100 * np.array(interval)))
    )
  return pd.DataFrame(rows, columns=[*COLUMNS, "low", "high"])


def section(workdir: pathlib.Path) -> Section | None:
  """The table with its reading; None without factors or matched pairs."""
  table = effects_table(workdir)
  if table.empty:
    return None
  text = (
    "Each sampler is a cell of a design, and two cells that differ in one "
    "factor alone are a pair. A cell's lead is its test top-1 less that of its "
    "baseline, uniform sampling with what the two have in common. An effect is "
    "the mean over the pairs of the difference in lead, in points, between a "
    "level and the first level of its factor: over all pairs where the column "
    "`where` is empty, else over those at that level of another factor. An "
    "effect that changes from one level of the other factor to the next is an "
    "interaction. Low and high bound the 95 % interval of a bootstrap over "
    "trials and test examples of the difference in lead on the same trial and "
    "the same example, averaged over the "
    "pairs; it is of each row by itself, with no correction for their number."
  )
  return Section("Effects of the factors", text, table, "effects")
