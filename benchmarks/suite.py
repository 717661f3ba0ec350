"""python -m benchmarks.suite [--arguments scale=0.02] [...]

Measures the wall time of the paper's runs at a given scale: nine samplers with
three trials each. It runs the experiment with empty caches, in a temporary
folder or in --workdir. It also projects the time to full size, which is 500,000
drawings seen once.

The projection keeps the network, image size and batch size. Training time grows
with the steps of each sampler; compile time is constant. All other time (data,
difficulty, evaluations, the report) is between constant and proportional to the
scale. That is why there are two figures.

SIGTERM stops it with a checkpoint, and the same command with the same --workdir
resumes. The table then has what was trained so far. A sampler without a step
takes as long per step as the fastest and the slowest with its batch size. The
evaluations of unfinished runs are missing in the projection.
"""

import argparse
import contextlib
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from alcurr.core import files
from alcurr.experiments import experiment_runner, preemption
from alcurr.experiments.config import build
from alcurr.experiments.loggers import read_rows
from benchmarks import arguments, tables
from configs import paper

COLUMNS = (
  *("sampler", "model", "pixels", "batch", "trials", "steps", "full_steps"),
  *("train_s", "compile_s", "wall_s", "full_s_least", "full_s_most"),
)
# Trained first, since a run that is stopped projects the others from them.
FIRST = ("uniform", "bandit", "uniform_32", "bandit_32")


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.suite",
    description="The wall time of the paper's runs, projected to full size.",
  )
  add = parser.add_argument
  add(
    "--arguments",
    default="scale=0.02",
    help="for configs/paper.py, such as scale=0.1,image=64,model=mobilenet",
  )
  add("--data", help="a folder of Quick, Draw! files; default generated")
  add("--dtype", choices=("float32", "bfloat16"), default="float32")
  add(
    "--workdir",
    type=pathlib.Path,
    help="folder of the experiment, to resume it; default a temporary one",
  )
  arguments.add_out(parser, "suite")
  return parser.parse_args(argv)


def get_config(args: argparse.Namespace) -> ConfigDict:
  config = paper.get_config(args.arguments)
  if args.dtype != "float32":
    config.model.name += f"(dtype={args.dtype!r})"
  if args.data:
    config.data.source, config.data.dir = "files", args.data
  return config


def read_results(
  config: ConfigDict, workdir: pathlib.Path
) -> list[dict[str, Any]]:
  """Returns the `result.json` of each sampler, or what is known before it.

  An unfinished run has None as `compile_seconds`.
  """
  results = []
  for name, run in build.build_experiment(config).runs.items():
    folder = workdir / "runs" / name
    if (path := folder / "result.json").exists():
      results.append(files.read_json(path))
      continue
    rows = (
      read_rows(path) if (path := folder / "metrics.jsonl").exists() else []
    )
    last = rows[-1] if rows else {"step": 0, "train_seconds": 0.0}
    results.append(
      {
        "sampler": name,
        "batch_size": run.config.batch_size,
        "steps": last["step"],
        "train_seconds": last["train_seconds"],
        "compile_seconds": None,
      }
    )
  return results


def make_rows(
  config: ConfigDict, results: Sequence[Mapping[str, Any]], wall: float
) -> list[dict[str, Any]]:
  """Projects the seconds of an experiment to full size.

  Args:
    config: the config of the experiment.
    results: see `read_results`.
    wall: seconds of the whole experiment, report included.

  Returns:
    A row for each sampler, and one for the total. It has no projection if no
    sampler of some batch size has made a step.
  """
  rows, rates = [], {}
  shared = {
    "model": config.model.name,
    "pixels": config.data.image_size,
    "trials": config.trials,
  }
  for run in results:
    row = {
      "sampler": run["sampler"],
      **shared,
      "batch": run["batch_size"],
      "steps": run["steps"],
      "full_steps": paper.EXAMPLES // run["batch_size"],
      # result.json has the share of one trial.
      "train_s": run["train_seconds"] * config.trials,
      "compile_s": run["compile_seconds"] or 0.0,
      "finished": run["compile_seconds"] is not None,
    }
    rows.append(row)
    if row["steps"]:
      rate = row["train_s"] / row["steps"]
      rates.setdefault(row["batch"], []).append(rate)
  for row in rows:
    known = rates.get(row["batch"])
    if row["steps"]:
      known = [row["train_s"] / row["steps"]]
    for column, choose in (("full_s_least", min), ("full_s_most", max)):
      if known:
        row[column] = choose(known) * row["full_steps"] + row["compile_s"]
  total = {"sampler": "all", **shared, "wall_s": wall}
  total |= {
    name: sum(r[name] for r in rows) for name in ("train_s", "compile_s")
  }
  total["finished"] = all(row["finished"] for row in rows)
  if all("full_s_most" in row for row in rows):
    other = wall - total["train_s"] - total["compile_s"]
    growth = paper.EXAMPLES / config.data.train_examples
    for column, times in (("full_s_least", 1.0), ("full_s_most", growth)):
      total[column] = sum(row[column] for row in rows) + other * times
  return [*rows, total]


@contextlib.contextmanager
def counted_seconds(path: pathlib.Path) -> Iterator[None]:
  """Adds the seconds of a context to those in a file of JSON."""
  started = time.perf_counter()
  try:
    yield
  finally:
    before = files.read_json(path) if path.exists() else 0.0
    files.write_json(path, before + time.perf_counter() - started)


def main(argv: Sequence[str]) -> int:
  args = parse(argv)
  logging.set_verbosity(logging.INFO)
  config, status = get_config(args), 0
  first = [name for name in FIRST if name in config.samplers]
  order = list(dict.fromkeys([*first, *config.samplers]))
  signals = preemption.Signals()
  with tempfile.TemporaryDirectory() as folder:
    workdir = args.workdir or pathlib.Path(folder) / "paper"
    workdir = workdir.absolute()
    clock = workdir.with_name(f"{workdir.name}_seconds.json")
    clock.parent.mkdir(parents=True, exist_ok=True)
    with signals.watched():
      try:
        with counted_seconds(clock):
          experiment_runner.run(config, workdir, False, signals, order)
      except preemption.Stopped as stopped:
        print(stopped, file=sys.stderr)
        status = stopped.status
    results = read_results(config, workdir)
    rows = make_rows(config, results, files.read_json(clock))
  table = tables.save(rows, args.out)
  tables.show(table, COLUMNS, args.out)
  return status


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
