"""python -m benchmarks.peers [--models cnn,...] [--batch_sizes 32,512] [...]

The same job, the same bytes (see `doodle_job`), done by alcurr and by what one
would take in its place:

  PyTorch         a loop with a DataLoader and a sampler, trained uniformly
  Flax            a loop fed from NumPy, trained uniformly
  PyTorch bandit  a loop with the active bandit written by hand
  Composer        SelectiveBackprop, the choice of examples one can install

Two questions, each contestant in a process of its own:

1. Seconds to an accuracy on held-out examples, from scratch; see `race`.
2. Examples a second, in rounds; see `timing`. The ratio is that of alcurr, with
   the same sampler (for Composer: with the bandit), over the other's: above 1,
   alcurr is faster.

All train the same number of trials, all trials count, and examples are those
drawn. Compile time is that of the first step. Run it on a machine that does
nothing else: PyTorch's threads wait for each other and lose more than others
when a core is taken from them.
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

# A peer's rival: alcurr with the same sampler or, for Composer, with the one
# that looks at the losses too.
RIVALS = {
  "PyTorch": "alcurr uniform",
  "Flax": "alcurr uniform",
  "PyTorch bandit": "alcurr bandit",
  "Composer": "alcurr bandit",
}
CONTESTANTS = ("alcurr uniform", "alcurr bandit", *RIVALS)
# Examples of a trial whose gains alcurr's bandit has room for, more than those
# of a race; the rounds after it overwrite the oldest.
MEMORY = 2**18
# Columns of the table on the terminal; the file has all.
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
    description="One job, done by alcurr and by what one would take instead.",
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
    help="top-1 on the held-out examples, the mean over trials",
  )
  add(
    "--check_every",
    type=arguments.number,
    default=4096,
    help="examples of a trial from one check of the accuracy to the next",
  )
  add(
    "--budget",
    type=float,
    default=120.0,
    help="seconds of training to reach the accuracy in; 0: no race",
  )
  arguments.add_threads(parser)
  arguments.add_out(parser, "peers")
  return parser.parse_args(argv)


def program(
  contestant: str, setting: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
  """The module of a contestant's program, and its options."""
  options = {name: setting[name] for name in ("path", "model", "batch_size")}
  sampler = "bandit" if contestant.endswith("bandit") else "uniform"
  if contestant.startswith("alcurr"):
    more = {"sampler": sampler, "num_steps": setting["num_steps"]}
    return "benchmarks.peers_alcurr", options | more
  if contestant.startswith("PyTorch"):
    return "benchmarks.peers_torch", options | {"sampler": sampler}
  module = {"Flax": "peers_flax", "Composer": "peers_composer"}[contestant]
  return f"benchmarks.{module}", options


def measure(args: argparse.Namespace, setting: dict[str, Any]) -> list[dict]:
  """A row for each contestant, of one network at one batch size."""
  workers, rows = {}, {}
  for name in args.contestants:
    print(f"{name}: compiles {setting['model']}", file=sys.stderr)
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
  """Enters the seconds to the accuracy, and their ratios to alcurr's."""
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
  """Enters examples a second, and the ratios to alcurr's within the rounds."""
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
  """All settings, on the data at `path`; the table."""
  rows = []
  for model in args.models:
    for batch_size in args.batch_sizes:
      setting = {
        "path": str(path),
        "model": model,
        "batch_size": batch_size,
        "num_steps": MEMORY // batch_size,
      }
      rows += measure(args, setting)
      # After each, so that a run cut short leaves what it measured.
      table = tables.save(rows, args.out)
  return table


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  timing.keep_to(args.threads)
  # Processes share a GPU: none may take what it does not need.
  os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "doodles.npz"
    print("makes the data, and its difficulty", file=sys.stderr)
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
