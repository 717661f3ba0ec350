"""summary.md: the aims, what was measured of them, and how each part ended."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from alcurr.core import environment, files
from benchmarks import models, peers, scale, step, suite
from benchmarks.gpu import memory, runner, trace
from benchmarks.gpu.runner import Record

MINUTES = 10.0  # of the paper's 27 runs
PYTORCH = 3.0  # times its examples a second, at three trials
# Of a step over training alone on ready batches.
SAMPLERS = {"uniform": 1.02, "prediction_gain": 1.34}
# The columns of each part's table, by the beginning of the part's name.
SHOWN = {
  "lowerings": ("dtype", "pixels", "role", "case", "lowering", "ms", "slower"),
  "memory": memory.COLUMNS,
  "models": models.SHOWN,
  "peers": peers.SHOWN,
  "samplers": step.COLUMNS,
  "scale": scale.COLUMNS,
  "step": step.COLUMNS,
  "suite": suite.COLUMNS,
  "trace": trace.COLUMNS,
  "trials": step.COLUMNS,
}


class Aim(NamedTuple):
  """An aim and a measurement of it.

  Attributes:
    aim: in words.
    setting: that was measured.
    measured: in words.
    verdict: "met" or "missed"; "open" if the projection says neither.
  """

  aim: str
  setting: str
  measured: str
  verdict: str


def write(
  folder: pathlib.Path, title: str, records: Sequence[Record], small: bool
) -> pathlib.Path:
  """Writes summary.md from the tables of parts; returns its path."""
  tables = read_tables(folder, [record.part for record in records])
  aims = list(find_aims(tables))
  about = "In small, verdicts mean nothing." if small else ""
  parts = pd.DataFrame([record._asdict() for record in records])
  parts["command"] = [f"`{command}`" for command in parts["command"]]
  sections = [
    f"# {title}",
    _versions(tables),
    "## Aims",
    *([about] if about else []),
    _markdown(pd.DataFrame(aims)) if aims else "No aim was measured.",
    "## Parts",
    _markdown(parts),
  ]
  for name, table in tables.items():
    columns = next(SHOWN[x] for x in SHOWN if name.startswith(x))
    shown = [column for column in columns if column in table]
    sections += [f"## {name}", _markdown(table[shown])]
  text = "\n\n".join(sections) + "\n"
  path = folder / "summary.md"
  files.write_file(path, lambda file: file.write(text.encode()))
  return path


def read_tables(
  folder: pathlib.Path, parts: Sequence[str]
) -> dict[str, pd.DataFrame]:
  """Returns the tables that parts have written, also if they did not end."""
  paths = {name: folder / f"{name}.csv" for name in parts}
  versions = dict.fromkeys(environment.VERSIONS, str)
  return {
    name: pd.read_csv(path, dtype=versions)
    for name, path in paths.items()
    if path.exists()
  }


def find_aims(tables: Mapping[str, pd.DataFrame]) -> Iterator[Aim]:
  """Yields each aim with each measurement of it."""
  for name in ("suite", "suite_tenth"):
    if name in tables:
      yield from _suite_aims(name, tables[name])
  for limits, prefix, aim in (
    (SAMPLERS, ("step", "samplers"), _sampler_aim),
    (("PyTorch", "torch.compile"), ("peers",), _peer_aim),
  ):
    for name, table in tables.items():
      if name.startswith(prefix) and "ratio" in table:
        for _, row in table[table["ratio"].notna()].iterrows():
          if row["contestant"] in limits:
            yield aim(row)


def _suite_aims(name: str, table: pd.DataFrame) -> Iterator[Aim]:
  total = table.iloc[-1]
  if "full_s_least" not in table or pd.isna(total["full_s_least"]):
    return
  least, most = total["full_s_least"] / 60, total["full_s_most"] / 60
  text = f"{least:.1f} to {most:.1f} min projected"
  if name == "suite" and total["finished"]:
    least = most = total["wall_s"] / 60
    text = f"{most:.1f} min"
  verdict = "met" if most <= MINUTES else "open"
  verdict = "missed" if least > MINUTES else verdict
  setting = f"{name}, {total['model']}, {total['pixels']:.0f} pixels"
  yield Aim(f"27 runs in {MINUTES:.0f} min", setting, text, verdict)


def _sampler_aim(row: pd.Series) -> Aim:
  limit = SAMPLERS[row["contestant"]]
  return Aim(
    f"{row['contestant']} at most {limit} of training alone",
    _setting(row, "dtype"),
    _ratio(row),
    "met" if row["ratio"] <= limit else "missed",
  )


def _peer_aim(row: pd.Series) -> Aim:
  return Aim(
    f"{PYTORCH:.0f} x {row['contestant']}, {row['trials']:.0f} trials",
    _setting(row),
    _ratio(row),
    "met" if row["ratio"] >= PYTORCH else "missed",
  )


def _setting(row: pd.Series, *more: str) -> str:
  names = [str(row[name]) for name in ("model", *more)]
  return f"{', '.join(names)}, batch {row['batch']}"


def _ratio(row: pd.Series) -> str:
  low, high = row["ratio_10%"], row["ratio_90%"]
  return f"{row['ratio']:.3g} [{low:.3g}, {high:.3g}]"


def _versions(tables: Mapping[str, pd.DataFrame]) -> str:
  """Returns a line on what was measured, from the rows of the tables."""
  columns = ("device", "date", *environment.VERSIONS)
  found = []
  for column in columns:
    values = {
      str(value)
      for table in tables.values()
      for value in table.get(column, ())
      if not pd.isna(value)
    }
    found += [f"{column} {' or '.join(sorted(values))}"] * bool(values)
  return f"{'; '.join(found) or 'Nothing was measured'}."


def _markdown(table: pd.DataFrame) -> str:
  """Returns a table in Markdown."""

  def text(value) -> str:
    if isinstance(value, float):
      return "" if pd.isna(value) else f"{value:.4g}"
    return "" if pd.isna(value) else str(value).replace("|", "\\|")

  rows = [list(table.columns), ["---"] * len(table.columns)]
  rows += [[text(value) for value in row] for row in table.itertuples(False)]
  return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def unfinished(records: Sequence[Record]) -> list[str]:
  """Returns the parts that are neither done nor skipped, with the reason."""
  fine = (runner.DONE, runner.SKIPPED)
  return [
    f"{record.part}: {record.status} ({record.reason})"
    for record in records
    if record.status not in fine
  ]
