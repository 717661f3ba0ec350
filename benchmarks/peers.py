"""python -m benchmarks.peers [--models cnn,...] [--batch_sizes 32,512] [...]

Compares alcurr with its alternatives, on the same job and the same arrays (see
`doodle_job`):

  PyTorch         a loop with a DataLoader and a sampler, uniform sampling
  torch.compile   the same loop, with the network compiled by PyTorch
  Flax            a loop fed from NumPy, uniform sampling
  PyTorch bandit  a loop with a hand-written active bandit
  Composer        SelectiveBackprop, an installable method of data selection
  InfoBatch       pruning in passes, by the code of its authors

Each contestant has its own process. There are two measurements:

1. Seconds to an accuracy on held-out examples, from scratch; see `race`.
2. Examples a second, in rounds; see `timing`. The ratio is that of alcurr, with
   the same sampler, over the other's: above 1, alcurr is faster.

All contestants train the same number of trials, all trials count, and drawn
examples are counted. Selective backprop draws batches of the batch size; of
every two it trains on half of one and on all of the other. Compile time is that
of the first step. Use an otherwise idle machine: PyTorch's threads wait for
each other, so that it suffers most when a core is busy.
"""

import argparse
import os
import pathlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from alcurr.core import specs
from alcurr.core.errors import UserError
from benchmarks import arguments, doodle_job, models, race, tables, timing

# Each peer's rival: alcurr with the same sampler.
RIVALS = {
  "PyTorch": "alcurr uniform",
  "torch.compile": "alcurr uniform",
  "Flax": "alcurr uniform",
  "PyTorch bandit": "alcurr bandit",
  "Composer": "alcurr selective_backprop",
  "InfoBatch": "alcurr infobatch",
}
CONTESTANTS = (*dict.fromkeys(RIVALS.values()), *RIVALS)
# Examples whose gains alcurr's bandit stores, more than a race draws. The
# rounds after it overwrite the oldest.
NUM_STORED = 2**18
# Columns that are printed; the file has all.
SHOWN = (
  "model",
  "batch",
  "contestant",
  "params",
  "examples_per_second",
  "ratio",
  "ratio_10%",
  "ratio_90%",
  "to_accuracy_s",
  "to_accuracy_ratio",
  "to_accuracy_examples",
  "accuracy",
  "compile_s",
  "note",
)


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.peers",
    description="One job, done by alcurr and by its alternatives.",
  )
  add = parser.add_argument
  add(
    "--models",
    type=arguments.names(doodle_job.NETWORKS),
    default=["cnn"],
    metavar="NAME,...",
  )
  add(
    "--contestants",
    type=arguments.names(CONTESTANTS),
    default=CONTESTANTS,
    metavar="NAME,...",
  )
  add(
    "--batch_sizes", type=arguments.numbers, default=[32, 512], metavar="N,..."
  )
  add(
    "--data",
    type=pathlib.Path,
    help="a folder of Quick, Draw! files; default generated doodles",
  )
  add("--per_class", type=arguments.number, default=1000, help="examples")
  arguments.add_rounds(parser, rounds=20, seconds=3.0)
  add(
    "--accuracy",
    type=float,
    default=0.7,
    help="top-1 on held-out examples, as the mean over trials",
  )
  add(
    "--check_every",
    type=arguments.number,
    default=4096,
    help="examples of a trial between two checks of the accuracy",
  )
  add(
    "--budget",
    type=float,
    default=120.0,
    help="most seconds of training to reach the accuracy; 0: no race",
  )
  arguments.add_threads(parser)
  arguments.add_out(parser, "peers")
  return parser.parse_args(argv)


def program(
  contestant: str, setting: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
  """Returns the module of a contestant's program, and its options."""
  options = {name: setting[name] for name in ("path", "model", "batch_size")}
  framework, _, sampler = contestant.partition(" ")
  if framework == "alcurr":
    more = {"sampler": sampler, "num_steps": setting["num_steps"]}
    return "benchmarks.peers_alcurr", options | more
  if framework in ("PyTorch", "torch.compile"):
    more = {"sampler": sampler or "uniform"}
    more["compiled"] = framework == "torch.compile"
    return "benchmarks.peers_torch", options | more
  if framework == "InfoBatch":
    more = {"num_steps": setting["num_steps"]}
    return "benchmarks.peers_infobatch", options | more
  module = {"Flax": "peers_flax", "Composer": "peers_composer"}[contestant]
  return f"benchmarks.{module}", options


def measure(args: argparse.Namespace, setting: dict[str, Any]) -> list[dict]:
  """Returns a row for each contestant, for one network and batch size."""
  workers, rows = {}, {}
  for name in args.contestants:
    print(f"{name}: compiling {setting['model']}", file=sys.stderr)
    rows[name] = {
      "model": setting["model"],
      "batch": setting["batch_size"],
      "trials": doodle_job.TRIALS,
      "contestant": name,
    }
    worker = timing.start(*program(name, setting), rows[name])
    if worker:
      workers[name] = worker
  models.check_platforms(rows)
  if args.budget > 0:
    results = race.race(
      workers,
      threshold=args.accuracy,
      steps=max(1, args.check_every // setting["batch_size"]),
      budget=args.budget,
    )
    add_race(rows, results, setting["batch_size"], args.accuracy)
  times = timing.interleave(workers, args.rounds, args.seconds)
  for name, worker in workers.items():
    rows[name]["peak_mb"] = worker.stop() / 1e6
  add_rates(rows, times, setting["batch_size"])
  return list(rows.values())


def add_race(
  rows: dict[str, dict],
  results: Mapping[str, race.Result],
  batch_size: int,
  threshold: float,
) -> None:
  """Adds the seconds to the accuracy, and their ratios to alcurr's."""
  for name, result in results.items():
    row = rows[name]
    row["threshold"] = threshold
    row["to_accuracy_s"] = result.text()
    row["to_accuracy_examples"] = result.steps * batch_size
    row["accuracy"] = result.accuracy
    rival = results.get(RIVALS.get(name))
    if rival:
      row["to_accuracy_ratio"] = race.ratio(result, rival)


def add_rates(
  rows: dict[str, dict], times: Mapping[str, np.ndarray], batch_size: int
) -> None:
  """Adds examples a second, and the ratios to alcurr within the rounds."""
  for name, seconds in times.items():
    row = rows[name]
    row["rounds"] = len(seconds)
    rate = timing.spread(doodle_job.TRIALS * batch_size / seconds)
    row["examples_per_second"] = rate.median
    row["examples_per_second_10%"] = rate.low
    row["examples_per_second_90%"] = rate.high
    rival = RIVALS.get(name)
    if rival in times:
      row["ratio"], row["ratio_10%"], row["ratio_90%"] = timing.spread(
        seconds / times[rival]
      )


def run(args: argparse.Namespace, path: pathlib.Path) -> pd.DataFrame:
  """Measures all settings on the data at `path`; returns the table."""
  rows = []
  for model in args.models:
    for batch_size in args.batch_sizes:
      setting = {
        "path": str(path),
        "model": model,
        "batch_size": batch_size,
        "num_steps": NUM_STORED // batch_size,
      }
      rows += measure(args, setting)
      # Saved each time, so that an interrupted run has its results.
      table = tables.save(rows, args.out)
  return table


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  timing.limit_cores(args.threads)
  # Processes share a GPU, so none may preallocate its memory.
  os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "doodles.npz"
    print("making the data and its difficulty", file=sys.stderr)
    try:
      with specs.errors_in("--data or --per_class"):
        data = doodle_job.make_data(args.data, args.per_class)
    except UserError as error:
      sys.exit(str(error))
    doodle_job.save(data, path)
    table = run(args, path)
  tables.show(table, SHOWN, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
