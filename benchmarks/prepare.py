"""python -m benchmarks.prepare [--sizes 500000,5000000] [--folder DIR]

Measures the time and memory of `python -m alcurr.data prepare`, by the number
of drawings. The source is a folder with an ndjson file for each class. Drawings
are as long as real ones (see `drawings`). Each file repeats 5,000 drawings,
with distinct keys.

Memory is the maximum of the resident sets of all processes together, sampled
every tenth of a second. Shared pages are counted once for each process. Source
and store take 0.6 kB a drawing in the folder, the store twice that until it is
complete. Both are removed.
"""

import argparse
import contextlib
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import numpy as np

from alcurr.data import strokes
from alcurr.data.quickdraw import packed
from benchmarks import arguments, drawings, tables

_NUM_DISTINCT = 5_000  # distinct drawings of a class
COLUMNS = ("drawings", "classes", "source_mb", "seconds", "per_minute", "mb")


def lines(count: int, seed: int) -> list[bytes]:
  """Returns lines of ndjson for `count` drawings, without their keys."""
  packed_strokes = drawings.make_strokes(count, seed)
  suffixes = []
  for number in range(count):
    text = ",".join(
      f"[{stroke[:, 0].tolist()},{stroke[:, 1].tolist()}]"
      for stroke in strokes.unpack(packed_strokes, number)
    ).replace(" ", "")
    suffixes.append(
      f'","recognized":true,"countrycode":"US","drawing":[{text}]}}\n'.encode()
    )
  return suffixes


def write_source(folder: pathlib.Path, count: int, classes: int) -> int:
  """Writes files of `count` drawings in total; returns their size in bytes."""
  size = 0
  for label in range(classes):
    suffixes = lines(min(_NUM_DISTINCT, count // classes), label)
    with (folder / f"class {label}.ndjson").open("wb") as file:
      for number in range(count // classes):
        key = f'{{"word":"class {label}","key_id":"{number:016d}'.encode()
        size += file.write(key + suffixes[number % len(suffixes)])
  return size


def tree(root: int) -> Iterator[int]:
  """Yields a process and all its descendants that are running."""
  yield root
  for children in pathlib.Path(f"/proc/{root}/task").glob("*/children"):
    with contextlib.suppress(OSError):
      for child in children.read_text().split():
        yield from tree(int(child))


def resident(process: int) -> int:
  """Returns the resident set of a process in bytes; 0 if it has ended."""
  try:
    status = pathlib.Path(f"/proc/{process}/status").read_text()
  except OSError:
    return 0
  kilobytes = status.partition("VmRSS:")[2].split(maxsplit=1)
  return 1024 * int(kilobytes[0]) if kilobytes else 0


def watch(command: Sequence[str]) -> tuple[float, int]:
  """Runs a command; returns its seconds and the peak of its memory in bytes."""
  started, peak = time.perf_counter(), 0
  process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
  while process.poll() is None:
    peak = max(peak, sum(map(resident, tree(process.pid))))
    time.sleep(0.1)
  if process.returncode:
    raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}")
  return time.perf_counter() - started, peak


def measure(folder: pathlib.Path, count: int, classes: int) -> dict:
  """Returns the row for a number of drawings."""
  source, out = folder / "source", folder / "out"
  source.mkdir()
  size = write_source(source, count, classes)
  command = ("-m", "alcurr.data", "prepare", str(source), str(out))
  seconds, peak = watch((sys.executable, *command))
  dataset = packed.load(out)
  counts = np.bincount(dataset.label)
  if counts.tolist() != [count // classes] * classes:
    raise SystemExit(
      f"{out}: expected the drawings of {source}, got {counts.tolist()}"
    )
  return {
    "drawings": int(counts.sum()),
    "classes": classes,
    "source_mb": size / 1e6,
    "seconds": seconds,
    "per_minute": 60 * counts.sum() / seconds,
    "mb": peak / 1e6,
  }


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(prog="python -m benchmarks.prepare")
  parser.add_argument(
    "--sizes", type=arguments.numbers, default=[500_000, 5_000_000]
  )
  parser.add_argument("--classes", type=arguments.number, default=50)
  parser.add_argument(
    "--folder",
    type=pathlib.Path,
    help="parent of source and store; default /tmp",
  )
  arguments.add_out(parser, "prepare")
  return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  rows = []
  for count in args.sizes:
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
      rows.append(measure(pathlib.Path(folder), count, args.classes))
    table = tables.save(rows, args.out)
  tables.show(table, COLUMNS, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
