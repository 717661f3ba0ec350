"""python -m benchmarks.suite [--arguments scale=0.02] [...]

The wall time of the paper's runs, nine samplers of three trials, at a given
scale, and a projection to its full size: 500,000 drawings once, batch 512 (and
32 for two of them), MobileNet at 64 x 64 pixels. The experiment itself is run,
in a folder that is thrown away, with nothing in any cache.

What is projected is the same network, image size and batch at full scale. The
training of each sampler grows with its steps; compiling does not. What is left
(data, difficulty, evaluations, the report) is between constant and
proportional to the scale, hence two figures.
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
from alcurr.experiments import runner
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
    description="Wall time of the paper's runs, and at its full size.",
  )
  add = parser.add_argument
  add(
    "--arguments",
    default="scale=0.02",
    help="of configs/paper.py, such as scale=0.1,image=64,model=mobilenet",
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
  """A row a sampler, and one for all of it."""
  config = get_config(args)
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder) / "paper"
    started = time.perf_counter()
    runner.run(config, workdir)
    wall = time.perf_counter() - started
    results = [
      files.read_json(workdir / "runs" / name / "result.json")
      for name in config.samplers
    ]
  return make_rows(config, results, wall)


def make_rows(
  config: ConfigDict, results: Sequence[Mapping[str, Any]], wall: float
) -> list[dict[str, Any]]:
  """From the seconds of an experiment to those of the full one.

  Args:
    config: of the experiment.
    results: the `result.json` of each sampler.
    wall: seconds that it took, from the first file read to the report.
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
      # What is written down is a trial's share of the chunks' time.
      "train_s": run["train_seconds"] * config.trials,
      "compile_s": run["compile_seconds"],
    }
    full = row["train_s"] * full_steps / row["steps"] + row["compile_s"]
    rows.append(row | {"full_s_least": full, "full_s_most": full})
  spent = sum(row["train_s"] + row["compile_s"] for row in rows)
  rest = wall - spent
  growth = paper.EXAMPLES / config.data.train_examples
  full = sum(row["full_s_least"] for row in rows)
  total = {
    "sampler": "all",
    **shared,
    "train_s": sum(row["train_s"] for row in rows),
    "compile_s": sum(row["compile_s"] for row in rows),
    "wall_s": wall,
    "full_s_least": full + rest,
    "full_s_most": full + rest * growth,
  }
  return [*rows, total]


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  logging.set_verbosity(logging.INFO)
  table = tables.save(measure(args), args.out)
  tables.show(table, COLUMNS, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
