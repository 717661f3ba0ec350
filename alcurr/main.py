"""python -m alcurr.main --config=configs/<x>.py [--workdir=DIR] [...]"""

import pathlib

import jax
from absl import app, flags, logging

from alcurr.core import cli, paths
from alcurr.core.errors import FaultError
from alcurr.experiments import experiment_runner, launch, preemption
from alcurr.experiments.config import build, loader
from alcurr.report import formatting, tables, verdict
from alcurr.training import compilation, processes

_CONFIG = flags.DEFINE_string(
  "config", None, "The experiment's config; --config.x=1 sets its field x."
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "The experiment's folder; default runs/<config's name>."
)
_COMPILATION_CACHE = flags.DEFINE_boolean(
  "compilation_cache", True, "Save compiled programs next to the workdir."
)
_RUNS = flags.DEFINE_list(
  "runs", None, "Samplers to run here, with commas; default all."
)
_LAUNCH = flags.DEFINE_string(
  "launch", None, "Runs in processes of their own: local, local:2 or slurm."
)
_DISTRIBUTED = flags.DEFINE_boolean(
  "distributed", False, "Run on many hosts, see docs/parallel.md."
)
_PROFILE = flags.DEFINE_boolean(
  "profile", False, "Trace a chunk of each run: runs/<sampler>/profile."
)


def _run(options: list[str]) -> None:
  if _LAUNCH.value is None:
    processes.join(_DISTRIBUTED.value)
  signals = preemption.Signals()
  config = loader.load(_CONFIG.value, options)
  name = pathlib.Path(loader.split(_CONFIG.value)[0]).stem
  text = f"runs/{name}" if _WORKDIR.value is None else _WORKDIR.value
  workdir = paths.absolute(text, "--workdir")
  with signals.watched(), processes.together():
    if _LAUNCH.value is not None:
      own = ("config", "compilation_cache", "profile")
      own = [flags.FLAGS[name].serialize() for name in own]
      command = launch.command_line(workdir, [*own, *options])
      summary = launch.start(
        _LAUNCH.value, config, workdir, command, _RUNS.value, signals
      )
    else:
      cache_dir = build.cache_dir(config, workdir) / "programs"
      cache_dir = cache_dir if _COMPILATION_CACHE.value else None
      compilation.cache_programs(cache_dir, profiled=_PROFILE.value)
      logging.info("jax %s on %s.", jax.__version__, compilation.find_devices())
      summary = experiment_runner.run(
        config, workdir, _PROFILE.value, signals, _RUNS.value
      )
  if summary is None:
    if processes.is_first():
      print(f"No report yet: not all runs are finished. {workdir}")
    return
  shown = verdict.describe(workdir, summary), formatting.terminal(summary)
  print(*shown, f"Tables, logs and figures: {workdir}", sep="\n\n")
  if failed := tables.diverged_samplers(summary):
    text = "every trial diverged; results.csv has the steps"
    raise FaultError("diverged", ", ".join(failed), text)


def main(argv: list[str]) -> int:
  cli.set_up_logging()
  try:
    status = cli.status(lambda: _run(argv[1:]))
    processes.leave(status)
    return status
  except preemption.Stopped as stopped:
    return cli.say(stopped, stopped.status)


if __name__ == "__main__":
  app.run(main, flags_parser=loader.parse_flags)
