"""python -m benchmarks.prepare [--sizes 500000,5000000] [--folder DIR]

How long `python -m alcurr.data prepare` takes, and how much memory, by the
number of drawings: of a folder of ndjson files for so many classes, as long as
real drawings (see `drawings`). Each file has 5,000 drawings over and over,
under keys that differ.

Memory is the most that its processes have held together, by their resident sets
every tenth of a second; what they share is counted for each. Source and store
take 0.6 kB a drawing in the folder, the store twice until it is whole, and are
removed.
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

from alcurr.data.quickdraw import packed, strokes
from benchmarks import arguments, drawings, tables

_EACH = 5_000  # drawings that differ, of a class
COLUMNS = ("drawings", "classes", "source_mb", "seconds", "per_minute", "mb")


def lines(count: int, seed: int) -> list[bytes]:
  """So many drawings as ndjson has them, each in two: around its key."""
  drawn = drawings.make_strokes(count, seed)
  made = []
  for number in range(count):
    text = ",".join(
      f"[{stroke[:, 0].tolist()},{stroke[:, 1].tolist()}]"
      for stroke in strokes.unpack(drawn, number)
    ).replace(" ", "")
    made.append(
      f'","recognized":true,"countrycode":"US","drawing":[{text}]}}\n'.encode()
    )
  return made


def write_source(folder: pathlib.Path, count: int, classes: int) -> int:
  """Files of `count` drawings in all; returns their bytes."""
  size = 0
  for label in range(classes):
    rests = lines(min(_EACH, count // classes), label)
    with (folder / f"class {label}.ndjson").open("wb") as file:
      for number in range(count // classes):
        key = f'{{"word":"class {label}","key_id":"{number:016d}'.encode()
        size += file.write(key + rests[number % len(rests)])
  return size


def tree(root: int) -> Iterator[int]:
  """A process and all that it has started, as far as they still run."""
  yield root
  for children in pathlib.Path(f"/proc/{root}/task").glob("*/children"):
    with contextlib.suppress(OSError):
      for child in children.read_text().split():
        yield from tree(int(child))


def resident(process: int) -> int:
  """Bytes that it holds; 0 where it has ended."""
  try:
    status = pathlib.Path(f"/proc/{process}/status").read_text()
  except OSError:
    return 0
  kilobytes = status.partition("VmRSS:")[2].split(maxsplit=1)
  return 1024 * int(kilobytes[0]) if kilobytes else 0


def watch(command: Sequence[str]) -> tuple[float, int]:
  """Runs a command: its seconds, and the most bytes its processes held."""
  started, most = time.perf_counter(), 0
  process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
  while process.poll() is None:
    most = max(most, sum(map(resident, tree(process.pid))))
    time.sleep(0.1)
  if process.returncode:
    raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}")
  return time.perf_counter() - started, most


def measure(folder: pathlib.Path, count: int, classes: int) -> dict:
  """A row for so many drawings."""
  source, out = folder / "source", folder / "out"
  source.mkdir()
  size = write_source(source, count, classes)
  command = ("-m", "alcurr.data", "prepare", str(source), str(out))
  seconds, most = watch((sys.executable, *command))
  dataset = packed.load(out)
  made = np.bincount(dataset.label)
  if made.tolist() != [count // classes] * classes:
    raise SystemExit(f"{out} has not the drawings of {source}")
  return {
    "drawings": int(made.sum()),
    "classes": classes,
    "source_mb": size / 1e6,
    "seconds": seconds,
    "per_minute": 60 * made.sum() / seconds,
    "mb": most / 1e6,
  }


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(prog="python -m benchmarks.prepare")
  parser.add_argument(
    "--sizes", type=arguments.numbers, default=[500_000, 5_000_000]
  )
  parser.add_argument("--classes", type=arguments.number, default=50)
  parser.add_argument(
    "--folder", type=pathlib.Path, help="for source and store; default /tmp"
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
