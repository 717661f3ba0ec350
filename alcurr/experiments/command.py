"""An experiment from its command line to the table that it prints."""

import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import jax
import pandas as pd
from absl import flags, logging
from ml_collections import ConfigDict

from alcurr.core import paths, terminal
from alcurr.core.errors import FaultError
from alcurr.experiments import experiment_runner, launch, preemption
from alcurr.experiments.config import build, loader, shipped
from alcurr.report import formatting, policies, tables, verdict
from alcurr.training import compilation, processes

_USAGE = """\
usage: alcurr run CONFIG[:ARGUMENTS] [--config.a.b=c] [--OPTION=VALUE]

Trains a model with each sampler of a config, and compares them.

CONFIG is a name of the list below, or a Python file with get_config();
`alcurr run CONFIG --help` explains it and its ARGUMENTS. --config.a.b sets a
field, such as --config.budget='5 epochs' or
--config.optimizer.learning_rate=3e-3."""
_EXAMPLE = "  alcurr run quickstart --config.trials=5 --workdir=runs/mine"


class Command(NamedTuple):
  """A command line; see the flags of `alcurr.main`."""

  config: str | None
  workdir: str | None
  runs: list[str] | None
  launch: str | None
  distributed: bool
  profile: bool
  compilation_cache: bool


def parse_flags(argv: list[str]) -> list[str]:
  """Parses the flags of absl; if help is among them, prints it and exits."""
  if {"--help", "-h"} & {*argv[1:]}:
    configs = [x for x in argv if x.startswith("--config=")]
    print(usage(configs[0].partition("=")[2] if configs else ""))
    sys.exit(0)
  return loader.parse_flags(argv)


def usage(config: str = "") -> str:
  """Returns how `alcurr run` is called, its options and the configs.

  Of one config, it is what its file says at the top, and the options.
  """
  options = {}
  for name in Command._fields[1:]:  # without the config
    flag = flags.FLAGS[name]
    option = f"--[no]{name}" if flag.boolean else f"--{name}"
    options[option] = flag.help
  title, parts = _USAGE, {"options": terminal.columns(options)}
  path = pathlib.Path(shipped.find(loader.split(config)[0])).expanduser()
  if path.is_file():
    title = shipped.docstring(path) or _USAGE
  else:
    parts["configs"] = terminal.columns(shipped.describe())
  parts["example"] = [_EXAMPLE]
  lines = [line for p, rows in parts.items() for line in ("", f"{p}:", *rows)]
  return "\n".join([title, *lines])


def run(command: Command, fields: Sequence[str]) -> None:
  """Runs an experiment, or starts processes that do, and prints its summary.

  Args:
    command: the options.
    fields: that options set, such as `--config.data.dir=DIR`.

  Raises:
    UserError: a mistake in the command, the config or the data.
    FaultError: a run failed, or every trial of a sampler diverged.
    MachineError: another process ended.
    Stopped: by a signal.
  """
  if command.launch is None:
    processes.join(command.distributed)
  signals = preemption.Signals()
  config = loader.load(command.config, fields)
  name = pathlib.Path(loader.split(command.config)[0]).stem
  text = f"runs/{name}" if command.workdir is None else command.workdir
  workdir = paths.absolute(text, "--workdir")
  with signals.watched(), processes.together():
    if command.launch is None:
      summary = _run_here(command, config, workdir, signals)
    else:
      each = [
        f"--config={command.config}",
        f"--profile={command.profile}",
        f"--compilation_cache={command.compilation_cache}",
      ]
      line = launch.command_line(workdir, [*each, *fields])
      summary = launch.start(
        command.launch, config, workdir, line, command.runs, signals
      )
  if processes.is_first():
    _print(workdir, summary)


def _run_here(
  command: Command,
  config: ConfigDict,
  workdir: pathlib.Path,
  signals: preemption.Signals,
) -> pd.DataFrame | None:
  """Runs an experiment in this process."""
  folder = build.cache_dir(config, workdir) / "programs"
  folder = folder if command.compilation_cache else None
  compilation.cache_programs(folder, profiled=command.profile)
  logging.info("jax %s on %s.", jax.__version__, compilation.find_devices())
  return experiment_runner.run(
    config, workdir, command.profile, signals, command.runs
  )


def _print(workdir: pathlib.Path, summary: pd.DataFrame | None) -> None:
  """Prints what an experiment shows.

  Raises:
    FaultError: every trial of a sampler diverged.
  """
  if summary is None:
    print(f"No report yet: not all runs are finished. {workdir}")
    return
  shown = [verdict.describe(workdir, summary), formatting.terminal(summary)]
  if shares := policies.in_words(workdir):
    shown.append("\n".join(shares))
  print(*shown, f"Tables, logs and figures: {workdir}", sep="\n\n")
  if failed := tables.diverged_samplers(summary):
    text = "every trial diverged; results.csv has the steps"
    raise FaultError("diverged", ", ".join(failed), text)
