"""The tables that benchmarks leave: their rows, and what these depend on."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from alcurr import writer


def save(rows: Sequence[Mapping[str, Any]], path: pathlib.Path) -> pd.DataFrame:
  """Writes rows as CSV, with versions, device, cores and date in each.

  Args:
    rows: what was measured; a row's own device goes before this process's.
    path: of the file; its folder is made.

  Returns:
    The table as it was written.
  """
  here = writer.environment() | {"cores": len(os.sched_getaffinity(0))}
  table = pd.DataFrame([{**row, **(here | row)} for row in rows])
  text = table.to_csv(index=False, float_format="%.4g")
  writer.write_file(path, lambda file: file.write(text.encode()))
  return table


def show(table: pd.DataFrame, columns: Sequence[str]) -> None:
  """Prints those of the columns that the table has."""
  shown = table[[column for column in columns if column in table]]
  print(shown.to_string(index=False, float_format="%.4g", na_rep="-"))
