"""Effects of the factors of a designed experiment.

The config has `factors`, the levels of each, and `cells`, each sampler's level
of each factor. Two cells that differ in a single factor are a pair.
"""

import pathlib
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from alcurr.core import files
from alcurr.report import bootstrap, tables

_COLUMNS = (
  *("factor", "level", "instead of", "where", "pairs"),
  *("effect, points", "low", "high"),
)

Cells = Mapping[str, Mapping[str, str]]  # sampler -> factor -> level


def contrasts(
  cells: Cells, levels: Mapping[str, list[str]]
) -> Iterator[tuple[tuple[str, ...], list[tuple[str, str]]]]:
  """Yields the comparisons of each level with the first of its factor.

  One is over all pairs; others are within a level of another factor on which
  the pairs differ.

  Yields:
    (factor, level, first level, "" or "<other factor>=<level>"), and the pairs
    of cells: one with the level, one with the first.
  """
  for factor, (first, *rest) in levels.items():
    for level in rest:
      pairs = [
        (name, other)
        for name, cell in cells.items()
        for other, matched in cells.items()
        if cell.get(factor) == level
        and matched.get(factor) == first
        and {**cell, factor: ""} == {**matched, factor: ""}
      ]
      if pairs:
        yield (factor, level, first, ""), pairs
      for other in (f for f in levels if f != factor):
        for value in levels[other]:
          within = [p for p in pairs if cells[p[0]].get(other) == value]
          if 0 < len(within) < len(pairs):
            yield (factor, level, first, f"{other}={value}"), within


def make_table(workdir: pathlib.Path) -> pd.DataFrame:
  """Returns the mean difference in lead of each contrast, in points.

  A sampler's lead is its test top-1 minus that of its own baseline, since a
  norm or a batch size changes both. The interval is that of
  `bootstrap.paired_bootstrap` for the difference, averaged over the pairs;
  cells are not resampled. Only finished samplers count. Empty without a design.
  """
  config = files.read_json(workdir / "config.json")
  results = tables.read_results(workdir)
  baselines = {result["sampler"]: result["baseline"] for result in results}
  cells = {
    name: {factor: str(level) for factor, level in cell.items()}
    for name, cell in (config.get("cells") or {}).items()
    if name in baselines
  }
  factors = config.get("factors") or {}
  levels = {factor: list(map(str, names)) for factor, names in factors.items()}
  lead = {}  # by sampler, [S, N]
  for name in cells:
    base = tables.per_headline(workdir, baselines[name])
    own = tables.per_headline(workdir, name)
    lead[name] = (own - base).astype(np.float32)
  rows = []
  for contrast, pairs in contrasts(cells, levels):
    # A running sum of whole numbers, exact in float32.
    total = np.zeros_like(lead[pairs[0][0]])
    for name, other in pairs:
      total += lead[name]
      total -= lead[other]
    interval = bootstrap.paired_bootstrap(total / len(pairs))
    rows.append((*contrast, len(pairs), *(100 * x for x in interval)))
  return pd.DataFrame(rows, columns=_COLUMNS)
