"""python -m alcurr.main --config=configs/<x>.py [--workdir=DIR] [...]"""

import pathlib

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from alcurr.core import cli
from alcurr.core.errors import FaultError
from alcurr.experiments import preemption, runner
from alcurr.experiments.config import build, loader
from alcurr.report import formatting, tables
from alcurr.training import compilation

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "The experiment's config.", lock_config=True
)
flags.FLAGS["config"].parser = loader.Parser()
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "The experiment's folder; default runs/<config's name>."
)
_COMPILATION_CACHE = flags.DEFINE_boolean(
  "compilation_cache", True, "Save compiled programs next to the workdir."
)
_PROFILE = flags.DEFINE_boolean(
  "profile", False, "Trace a chunk of each run: runs/<sampler>/profile."
)


def _run() -> None:
  signals = preemption.Signals()
  file = config_flags.get_config_filename(flags.FLAGS["config"]).split(":")[0]
  workdir = pathlib.Path(_WORKDIR.value or f"runs/{pathlib.Path(file).stem}")
  if _COMPILATION_CACHE.value and not jax.config.jax_compilation_cache_dir:
    cache_dir = build.cache_dir(_CONFIG.value, workdir).absolute()
    jax.config.update("jax_compilation_cache_dir", str(cache_dir / "programs"))
  if _PROFILE.value:
    # Cached programs may name their operations as older code did.
    jax.config.update("jax_compilation_cache_include_metadata_in_key", True)
  with signals.watched():
    logging.info("jax %s on %s.", jax.__version__, compilation.find_devices())
    summary = runner.run(_CONFIG.value, workdir, _PROFILE.value, signals)
  print(formatting.terminal(summary))
  print(f"\nTables, logs and figures: {workdir}")
  if failed := tables.diverged_samplers(summary):
    text = "every trial diverged; results.csv has the steps"
    raise FaultError("diverged", ", ".join(failed), text)


def main(argv: list[str]) -> int:
  del argv  # `parse_flags` admits only flags
  cli.set_up_logging()
  try:
    return cli.status(_run)
  except preemption.Stopped as stopped:
    return cli.say(stopped, stopped.status)


if __name__ == "__main__":
  app.run(main, flags_parser=loader.parse_flags)
