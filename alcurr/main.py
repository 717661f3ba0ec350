"""python -m alcurr.main --config=configs/<x>.py [--workdir=DIR] [...]"""

import logging as std_logging
import pathlib
import sys

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from alcurr.core.errors import FaultError, MachineError, UserError
from alcurr.experiments import preemption, runner
from alcurr.experiments.config import build, loader
from alcurr.report import formatting, tables

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "The experiment's config.", lock_config=True
)
flags.FLAGS["config"].parser = loader.Parser()
_WORKDIR = flags.DEFINE_string(
  "workdir",
  None,
  "Where the experiment leaves its files; default runs/<name of the config>.",
)
_COMPILATION_CACHE = flags.DEFINE_boolean(
  "compilation_cache",
  True,
  "Keep compiled programs beside the workdir, for the next run.",
)
_PROFILE = flags.DEFINE_boolean(
  "profile",
  False,
  "Trace a chunk of each run's steps, and leave where their time goes in the "
  "folder runs/<sampler>/profile of the workdir.",
)

# What neither the program nor its user did, told in one sentence.
FAULTS = (MachineError, MemoryError, OSError, jax.errors.JaxRuntimeError)


def parse(argv: list[str]) -> list[str]:
  """Parses the flags; a mistake in them is one sentence and exit status 2."""
  try:
    rest = flags.FLAGS(argv)
    if _CONFIG.value is None:
      raise UserError("Name an experiment: --config=configs/quickstart.py.")
    if rest[1:]:
      raise UserError(f"Unknown argument {rest[1]!r}; options begin with --.")
  # What absl and ml_collections raise for an option that does not fit.
  except (flags.Error, KeyError, TypeError, ValueError) as error:
    fail(_in_words(error))
  return rest


def _in_words(error: Exception) -> Exception:
  """A mistake in the flags as a person would say it."""
  if isinstance(error, flags.CantOpenFlagFileError):
    return UserError(f"--flagfile: {error.__context__}; name a file.")
  if not isinstance(error, flags.IllegalFlagValueError):
    return error
  cause = error.__context__
  if isinstance(cause, UserError):
    return cause
  option = str(error).removesuffix(f": {cause}").removeprefix("flag ")
  name = option.removeprefix("--").partition("=")[0]
  kinds = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
  }
  kind = kinds.get(flags.FLAGS[name].parser.flag_type())
  if kind is None:
    kind = f"another value ({str(cause).rstrip('.')})"
  return UserError(f"{option}: write {kind}.")


def fail(error: Exception, status: int = 2) -> None:
  """Says what was wrong, in one line, and stops."""
  text = " ".join(str(error.args[0] if error.args else error).split())
  end = "" if text.endswith((".", "?", "!")) else "."
  # A name in it may hold what no terminal can show.
  text = text.encode(errors="backslashreplace").decode()
  print(f"alcurr: {text}{end}", file=sys.stderr)
  sys.exit(status)


def _told(error: Exception) -> Exception:
  """A fault in words; one of the device that is not its memory's is raised."""
  if isinstance(error, MachineError):
    return error
  if isinstance(error, OSError):
    where = f"{error.filename}: " if error.filename else ""
    text = f"{where}{error.strerror or error}"
  elif isinstance(error, MemoryError):
    text = "the host's memory ran out"
  else:
    reason = str(error).splitlines()[0]
    if not reason.startswith("RESOURCE_EXHAUSTED"):
      raise error
    text = f"the device's memory ran out ({reason})"
  return MachineError(
    f"{text}; what was finished is kept: mend that and run the same command "
    "again to go on."
  )


def keep_programs(folder: pathlib.Path) -> None:
  """Compiled programs stay in a folder, unless the user has named another."""
  if not jax.config.jax_compilation_cache_dir:
    jax.config.update("jax_compilation_cache_dir", str(folder.absolute()))


def main(argv: list[str]) -> None:
  del argv  # parse() admits no more than flags
  logging.set_verbosity(logging.INFO)
  # Its search for accelerators is of no interest to those who have none.
  std_logging.getLogger("jax").setLevel(std_logging.WARNING)
  name = pathlib.Path(
    config_flags.get_config_filename(flags.FLAGS["config"]).split(":")[0]
  ).stem
  workdir = pathlib.Path(_WORKDIR.value or f"runs/{name}")
  if _COMPILATION_CACHE.value:
    keep_programs(build.cache_dir(_CONFIG.value, workdir) / "programs")
  if _PROFILE.value:
    # Programs that were kept may name their operations as older code did.
    jax.config.update("jax_compilation_cache_include_metadata_in_key", True)
  # What it tells of every checkpoint, but for warnings.
  logging.get_absl_logger().addFilter(
    lambda r: "orbax" not in r.pathname or r.levelno >= std_logging.WARNING
  )
  signals = preemption.Signals()
  try:
    with signals.watched():
      logging.info("jax %s on %s.", jax.__version__, jax.devices())
      summary = runner.run(_CONFIG.value, workdir, _PROFILE.value, signals)
  except UserError as error:
    fail(error)
  except preemption.Stopped as stopped:
    fail(stopped, stopped.status)
  except FAULTS as error:
    fail(_told(error), 1)
  except FaultError as error:
    fail(error, 1)
  print(formatting.terminal(summary))
  print(f"\nTables, logs and figures: {workdir}")
  if failed := tables.diverged_samplers(summary):
    what = "a loss, gradient, update, gain or policy that was not finite"
    fail(
      FaultError(
        f"Every trial of {', '.join(failed)} ended with {what}; results.csv "
        "says at which step."
      ),
      status=1,
    )


if __name__ == "__main__":
  app.run(main, flags_parser=parse)
