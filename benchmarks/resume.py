"""python -m benchmarks.resume [--budget "1 epoch"] [--batch_size 32] [...]

Measures the cost of checkpoints: whole runs of the default config, in turns,
without checkpoints, with the default settings, and with a checkpoint every 100
steps. The ratio is to the run without checkpoints in the same round.

The time of a run includes writing its files and waiting until the last
checkpoint is on the disk. It excludes compilation.
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
from alcurr.experiments import compiled_runs, sampler_trials, setup
from alcurr.experiments.added_trials import Block
from alcurr.experiments.config import build
from alcurr.experiments.pools import host_pools
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
  """Returns a compiled run, and a function that runs it from the start.

  Args:
    config: the experiment, whose samplers use no difficulties.
    name: the sampler.
    folder: a folder for the files of the run.
  """
  experiment = build.build_experiment(config)
  context = setup.load_context(experiment, folder / "cache")
  pools = on_device(host_pools(context))
  blocks = [Block(name, 0, config.trials)]
  (prepared,) = compiled_runs.compile_runs(context, pools, blocks).values()
  run, compiled = prepared
  fingerprint = sampler_trials.fingerprint(
    context.content, run, compiled, pools
  )

  def do_run(settings: ConfigDict | None) -> None:
    with (
      tempfile.TemporaryDirectory(dir=folder) as workdir,
      files.json_lines(pathlib.Path(workdir) / "metrics.jsonl") as lines,
    ):
      do_train = functools.partial(
        loop.train, run, compiled, pools, lines.write, lambda *_: None
      )
      if settings is None:
        do_train()
        return
      checkpoint_dir = pathlib.Path(workdir) / "checkpoints"
      with CheckpointWriter(
        checkpoint_dir, settings, fingerprint, lines.log_position
      ) as checkpoints:
        do_train(resume=loop.ResumeOptions(None, checkpoints, lambda: False))

  return compiled, do_run


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
  """Returns a row for each setting."""
  config = default.get_config()
  config.budget, config.batch_size = args.budget, args.batch_size
  # Difficulty arms would need a reference model.
  config.samplers.bandit.partition = "shuffled"
  with tempfile.TemporaryDirectory() as folder:
    compiled, do_run = make_run(config, args.sampler, pathlib.Path(folder))

    def contestant(settings: ConfigDict | None, num_runs: int) -> float:
      return timing.timed(
        lambda num: [do_run(settings) for _ in range(num)], num_runs
      )

    settings = {
      name: None
      if changes is None
      else ConfigDict({**config.checkpoint, **changes})
      for name, changes in SETTINGS.items()
    }
    times = timing.interleave(
      {k: functools.partial(contestant, v) for k, v in settings.items()},
      args.rounds,
      args.seconds,
    )
  facts = {
    "sampler": args.sampler,
    "steps": sum(compiled.chunks.lengths),
    "batch": config.batch_size,
    "trials": config.trials,
    "state_mb": memory.num_bytes(compiled.state) / 1e6,
  }
  return [
    {"checkpoints": name, **facts} | tables.times(taken, times["none"])
    for name, taken in times.items()
  ]


def parse(argv: Sequence[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m benchmarks.resume",
    description="The cost of checkpoints for a run.",
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
