"""python -m benchmarks.resume [--budget "1 epoch"] [--batch_size 32] [...]

What checkpoints cost: whole runs of the default config, in turns, with none,
with those of the default settings, and with one at every 100 steps. A line's
ratio is that to the run with none in the same round.

A run's time is all of it, with the files it leaves and the wait for the last
checkpoint to be on the disk; nothing is compiled in it.
"""

import argparse
import functools
import pathlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from ml_collections import ConfigDict

from alcurr.core import files
from alcurr.data.pool import on_device
from alcurr.experiments import sampler_run, setup
from alcurr.experiments.config import build
from alcurr.training import loop, memory
from alcurr.training.checkpoint_writer import CheckpointWriter
from alcurr.training.run import CompiledRun
from benchmarks import arguments, tables, timing
from configs import default

SETTINGS: dict[str, dict[str, Any] | None] = {
  "none": None,
  "default": {},
  "100 steps": {"steps": 100},
}
COLUMNS = (
  *("checkpoints", "sampler", "steps", "batch", "trials", "state_mb"),
  *("ms", "ms_10%", "ms_90%", "ratio", "ratio_10%", "ratio_90%", "rounds"),
)


def make_run(
  config: ConfigDict, name: str, folder: pathlib.Path
) -> tuple[CompiledRun, Callable[[ConfigDict | None], None]]:
  """A sampler's plan, and a function that does the run from its beginning.

  Args:
    config: of the experiment; the samplers read no difficulties.
    name: of the sampler.
    folder: for what the run leaves.
  """
  job = setup.load_context(build.build_experiment(config), folder / "cache")
  pools = on_device(setup.host_pools(job))
  run, plan = sampler_run.compile_sampler_run(job, name, pools)
  facts = sampler_run.fingerprint(run, plan, pools)

  def do(every: ConfigDict | None) -> None:
    with (
      tempfile.TemporaryDirectory(dir=folder) as left,
      files.json_lines(pathlib.Path(left) / "metrics.jsonl") as lines,
    ):
      do_train = functools.partial(
        loop.train, run, plan, pools, lines.write, lambda *_: None
      )
      if every is None:
        do_train()
        return
      kept = pathlib.Path(left) / "checkpoints"
      with CheckpointWriter(
        kept, every, facts, lines.log_position
      ) as checkpoints:
        do_train(resume=loop.ResumeOptions(None, checkpoints, lambda: False))

  return plan, do


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
  """A row for each setting."""
  config = default.get_config()
  config.budget, config.batch_size = args.budget, args.batch_size
  # Without a reference model to train first.
  config.samplers.bandit.partition = "shuffled"
  with tempfile.TemporaryDirectory() as folder:
    plan, do = make_run(config, args.sampler, pathlib.Path(folder))

    def contestant(every: ConfigDict | None, times: int) -> float:
      return timing.timed(lambda num: [do(every) for _ in range(num)], times)

    every = {
      name: None
      if changes is None
      else ConfigDict({**config.checkpoint, **changes})
      for name, changes in SETTINGS.items()
    }
    times = timing.interleave(
      {n: functools.partial(contestant, e) for n, e in every.items()},
      args.rounds,
      args.seconds,
    )
  facts = {
    "sampler": args.sampler,
    "steps": sum(plan.chunks.lengths),
    "batch": config.batch_size,
    "trials": config.trials,
    "state_mb": memory.num_bytes(plan.state) / 1e6,
  }
  return [
    {"checkpoints": name, **facts} | tables.times(taken, times["none"])
    for name, taken in times.items()
  ]


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.resume",
    description="What checkpoints cost a run.",
  )
  add = parser.add_argument
  add("--budget", default=default.get_config().budget)
  add("--batch_size", type=arguments.number, default=32)
  add("--sampler", choices=("uniform", "bandit"), default="bandit")
  arguments.add_rounds(parser, rounds=5, seconds=0.1)
  arguments.add_out(parser, "resume")
  return parser.parse_args(argv)


def main(argv: Sequence[str]) -> None:
  args = parse(argv)
  table = tables.save(measure(args), args.out)
  tables.show(table, COLUMNS, args.out)


if __name__ == "__main__":
  main(sys.argv[1:])
