"""Writes and prints the tables of benchmarks."""

import datetime
import pathlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from alcurr.core import environment, files
from alcurr.data import parallel
from benchmarks import timing


def save(rows: Sequence[Mapping[str, Any]], path: pathlib.Path) -> pd.DataFrame:
  """Writes rows as CSV, with versions, device, date and command in each.

  Args:
    rows: the measurements; the device of a row overrides this process's.
    path: the file; its folder is created if necessary.

  Returns:
    The table as written.
  """
  known, names = environment.current(), (*environment.VERSIONS, "device")
  common = {name: known[name] for name in names}
  date = datetime.date.today().isoformat()
  common |= {"date": date, "cores": parallel.cores(), "command": command()}
  table = pd.DataFrame([{**row, **(common | row)} for row in rows])
  text = table.to_csv(index=False, float_format="%.4g")
  path.parent.mkdir(parents=True, exist_ok=True)
  files.write_file(path, lambda file: file.write(text.encode()))
  return table


def command() -> str:
  """Returns the command line of this process, with the interpreter's name."""
  return shlex.join(["python", *sys.orig_argv[1:]])


def show(
  table: pd.DataFrame, columns: Sequence[str], path: pathlib.Path
) -> None:
  """Prints the columns that the table has, and the path of the file."""
  shown = table[[column for column in columns if column in table]]
  print(shown.to_string(index=False, float_format="%.4g", na_rep="-"))
  print(f"\n{path}")


def times(
  seconds: np.ndarray, baseline: np.ndarray, unit: str = "ms"
) -> dict[str, float]:
  """Returns columns of a contestant's times, and of its ratio to a baseline.

  Args:
    seconds: [rounds], seconds of a step.
    baseline: [rounds], seconds of a step of the baseline.
    unit: "ms" or "us".
  """
  taken = timing.spread({"ms": 1e3, "us": 1e6}[unit] * seconds)
  ratio = timing.spread(seconds / baseline)
  return {
    **{unit: taken.median, f"{unit}_10%": taken.low, f"{unit}_90%": taken.high},
    **{"ratio": ratio.median, "ratio_10%": ratio.low, "ratio_90%": ratio.high},
    "rounds": len(seconds),
  }
