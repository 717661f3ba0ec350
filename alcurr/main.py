"""python -m alcurr.main --config=configs/<x>.py [--workdir=DIR] [...]"""

import pathlib

import jax
from absl import app, flags, logging

from alcurr.core import cli, paths
from alcurr.core.errors import FaultError
from alcurr.experiments import experiment_runner, preemption
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
_DISTRIBUTED = flags.DEFINE_boolean(
  "distributed", False, "Run on many hosts, see docs/parallel.md."
)
_PROFILE = flags.DEFINE_boolean(
  "profile", False, "Trace a chunk of each run: runs/<sampler>/profile."
)


def _run(options: list[str]) -> None:
  processes.join(_DISTRIBUTED.value)
  signals = preemption.Signals()
  config = loader.load(_CONFIG.value, options)
  name = pathlib.Path(loader.split(_CONFIG.value)[0]).stem
  text = f"runs/{name}" if _WORKDIR.value is None else _WORKDIR.value
  workdir = paths.absolute(text, "--workdir")
  if _COMPILATION_CACHE.value and not jax.config.jax_compilation_cache_dir:
    cache_dir = build.cache_dir(config, workdir)
    jax.config.update("jax_compilation_cache_dir", str(cache_dir / "programs"))
  if _PROFILE.value:
    # Cached programs may name their operations as older code did.
    jax.config.update("jax_compilation_cache_include_metadata_in_key", True)
  with signals.watched(), processes.together():
    logging.info("jax %s on %s.", jax.__version__, compilation.find_devices())
    summary = experiment_runner.run(config, workdir, _PROFILE.value, signals)
  if summary is None:
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
