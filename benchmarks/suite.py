"""python -m benchmarks.suite [--arguments scale=0.02] [...]

Measures the wall time of the paper's runs at a given scale: nine samplers with
three trials each. It runs the experiment in a temporary folder, with empty
caches. It also projects the time to full size, which is 500,000 drawings seen
once.

The projection keeps the network, image size and batch size. Training time grows
with the steps of each sampler; compile time is constant. All other time (data,
difficulty, evaluations, the report) is between constant and proportional to the
scale. That is why there are two figures.
"""

import argparse
import pathlib
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from alcurr.core import files
from alcurr.experiments import experiment_runner
from alcurr.experiments.config import build
from benchmarks import arguments, tables
from configs import paper

COLUMNS = (
  *("sampler", "model", "pixels", "batch", "trials", "steps", "full_steps"),
  *("train_s", "compile_s", "wall_s", "full_s_least", "full_s_most"),
)


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
  arguments.add_out(parser, "suite")
  return parser.parse_args(argv)


def get_config(args: argparse.Namespace) -> ConfigDict:
  config = paper.get_config(args.arguments)
  if args.dtype != "float32":
    config.model.name += f"(dtype={args.dtype!r})"
  if args.data:
    config.data.source, config.data.dir = "files", args.data
  build.build_experiment(config)
  return config


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
  """Returns a row for each sampler, and one for the total."""
  config = get_config(args)
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder) / "paper"
    started = time.perf_counter()
    experiment_runner.run(config, workdir)
    wall = time.perf_counter() - started
    results = [
      files.read_json(workdir / "runs" / name / "result.json")
      for name in config.samplers
    ]
  return make_rows(config, results, wall)


def make_rows(
  config: ConfigDict, results: Sequence[Mapping[str, Any]], wall: float
) -> list[dict[str, Any]]:
  """Projects the seconds of an experiment to full size.

  Args:
    config: the config of the experiment.
    results: the `result.json` of each sampler.
    wall: seconds of the whole experiment, report included.

  Returns:
    A row for each sampler, and one for the total.
  """
  rows = []
  shared = {
    "model": config.model.name,
    "pixels": config.data.image_size,
    "trials": config.trials,
  }
  for run in results:
    full_steps = paper.EXAMPLES // run["batch_size"]
    row = {
      "sampler": run["sampler"],
      **shared,
      "batch": run["batch_size"],
      "steps": run["steps"],
      "full_steps": full_steps,
      # result.json has the share of one trial.
      "train_s": run["train_seconds"] * config.trials,
      "compile_s": run["compile_seconds"],
    }
    full = row["train_s"] * full_steps / row["steps"] + row["compile_s"]
    rows.append(row | {"full_s_least": full, "full_s_most": full})
  spent = sum(row["train_s"] + row["compile_s"] for row in rows)
  other = wall - spent
  growth = paper.EXAMPLES / config.data.train_examples
  full = sum(row["full_s_least"] for row in rows)
  total = {
    "sampler": "all",
    **shared,
    "train_s": sum(row["train_s"] for row in rows),
    "compile_s": sum(row["compile_s"] for row in rows),
    "wall_s": wall,
    "full_s_least": full + other,
    "full_s_most": full + other * growth,
  }
  return [*rows, total]


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  logging.set_verbosity(logging.INFO)
  table = tables.save(measure(args), args.out)
  tables.show(table, COLUMNS, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
