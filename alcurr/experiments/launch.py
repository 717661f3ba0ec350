"""An experiment's runs in processes of their own: here, or as jobs of Slurm.

    --launch=local      side by side: one a GPU, or one a core of the CPU
    --launch=local:2    two at a time
    --launch=slurm      see `alcurr.experiments.slurm`

First one process makes what the runs share: data and scores. Then each run is
a process with `--runs=<sampler>`. Then the report is written. Each process is
the same command line, so whatever ended early is resumed by the same command.
"""

import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import pandas as pd
from absl import logging
from ml_collections import ConfigDict

from alcurr.core import environment, specs
from alcurr.core.errors import FaultError, UserError
from alcurr.experiments import experiment_runner, loggers, preemption, slurm
from alcurr.experiments.added_trials import unfinished_blocks
from alcurr.experiments.config import build
from alcurr.experiments.workdir import check_workdir
from alcurr.report import page

LAUNCHERS = ("local", "slurm")
_POLL = 0.1  # seconds between two looks at the processes
# Asked of another process: this one leaves the devices to the runs.
_FIND_DEVICES = "import jax; print(jax.default_backend(), jax.device_count())"
_GPUS = "CUDA_VISIBLE_DEVICES"


class Share(NamedTuple):
  """The part of the machine that a process has."""

  cores: frozenset[int] | None  # None: all
  variables: dict[str, str]  # of the environment


def start(
  text: str,
  config: ConfigDict,
  workdir: pathlib.Path,
  command: Sequence[str],
  chosen: Sequence[str] | None,
  signals: preemption.Signals,
) -> pd.DataFrame | None:
  """Runs the unfinished samplers of an experiment, as `--launch` says.

  Args:
    text: the value of `--launch`.
    config: of the experiment.
    workdir: its folder.
    command: the experiment's command line, without `--launch` and `--runs`.
    chosen: the names of the samplers to run; None for all.
    signals: that stop all processes.

  Returns:
    The summary; None if there is no report yet.

  Raises:
    UserError: a mistake in the config, the workdir or the `text`.
    FaultError: a process failed, and has said why.
    Stopped: by a signal, after all processes have saved and ended.
  """
  kind, colon, number = text.partition(":")
  specs.check_choice("--launch", kind, LAUNCHERS)
  if colon and (kind != "local" or not number.isdecimal() or not int(number)):
    expected = "expected local, local:2 (processes) or slurm"
    raise UserError("syntax", "--launch", f"{expected}, got {text!r}")
  # The runs get the devices.
  jax.config.update("jax_platforms", "cpu")
  experiment = build.build_experiment(config)
  config = experiment.config
  loggers.parse(config.tracking, config.tracking_uri, workdir)
  chosen = [*experiment.runs] if chosen is None else chosen
  for name in chosen:
    specs.check_choice("--runs", name, experiment.runs)
  check_workdir(workdir, config)
  names = [n for n in chosen if unfinished_blocks(workdir, n, config.trials)]
  if kind == "slurm":
    print(slurm.submit(config, workdir, command, names))
    return None
  return _run_here(config, workdir, command, names, int(number or 0), signals)


def command_line(workdir: pathlib.Path, options: Sequence[str]) -> list[str]:
  """Returns the command of an experiment, for `start`."""
  program = [sys.executable, "-m", "alcurr.main"]
  return [*program, f"--workdir={workdir}", *options]


def _run_here(
  config: ConfigDict,
  workdir: pathlib.Path,
  command: Sequence[str],
  names: Sequence[str],
  count: int,
  signals: preemption.Signals,
) -> pd.DataFrame | None:
  """Runs samplers side by side; for `count` see `make_shares`."""
  shares = make_shares(count, len(names))
  everything = Share(None, {})
  logging.info(
    "%d runs in %d processes, after what they share.", len(names), len(shares)
  )
  failed = _run_all(command, [""], [everything], signals)
  if failed:
    raise FaultError("failed", "--launch", "what the runs share was not made")
  failed = _run_all(command, names, shares, signals)
  if names and not failed and _is_reported(workdir):
    summary = page.read_summary(workdir)
  else:
    with experiment_runner.track(config, workdir) as logger:
      summary = experiment_runner.report(workdir, logger, is_last=True)
  if failed:
    text = "failed, and said why; rerun the same command to resume"
    raise FaultError("failed", ", ".join(failed), text)
  return summary


def _is_reported(workdir: pathlib.Path) -> bool:
  """Returns whether the last run to finish has written the report."""
  report = workdir / "report.html"
  results = workdir.glob("runs/*/result.json")
  times = [path.stat().st_mtime_ns for path in results]
  return report.exists() and report.stat().st_mtime_ns > max(times)


def make_shares(count: int, most: int) -> list[Share]:
  """Divides the machine among processes: a GPU each, or cores of the CPU.

  A process on some cores has as many threads as one on all of them, since
  sums over other threads would round otherwise. NPROC sets their number.

  Args:
    count: processes; 0 for one a GPU, or one a core.
    most: processes that have something to do.

  Raises:
    UserError: more processes than GPUs or cores.
  """
  backend, devices = _find_devices()
  if backend == "cpu":
    cores = sorted(_cores())
    units = [[core] for core in cores]
  elif backend in ("gpu", "cuda"):
    visible = os.environ.get(_GPUS)
    gpus = visible.split(",") if visible else range(devices)
    units = [str(gpu) for gpu in gpus]
  else:
    units = [None]
  if count > len(units):
    text = f"expected at most {len(units)} processes on this machine's"
    raise UserError("range", "--launch", f"{text} {backend}, got {count}")
  number = max(1, min(count or len(units), most))
  if backend == "cpu":
    variables = {"NPROC": str(environment.threads())}
    first = [len(cores) * i // number for i in range(number + 1)]
    return [
      Share(frozenset(cores[first[i] : first[i + 1]]), variables)
      for i in range(number)
    ]
  if units == [None]:
    return [Share(None, {})]
  return [Share(None, {_GPUS: gpu}) for gpu in units[:number]]


def _find_devices() -> tuple[str, int]:
  """Returns JAX's backend in a new process, and its number of devices."""
  done = subprocess.run(
    [sys.executable, "-c", _FIND_DEVICES],
    stdout=subprocess.PIPE,
    text=True,
    check=False,
  )
  if done.returncode:
    text = "JAX finds no device, see above"
    raise UserError("missing", "--launch", text)
  backend, count = done.stdout.split()[-2:]
  return backend, int(count)


def _cores() -> set[int]:
  if hasattr(os, "sched_getaffinity"):  # Linux
    return os.sched_getaffinity(0)
  return {*range(os.cpu_count() or 1)}


def _run_all(
  command: Sequence[str],
  names: Sequence[str],
  shares: Sequence[Share],
  signals: preemption.Signals,
) -> list[str]:
  """Runs a process for each sampler, or one for "": no sampler.

  Returns the names of those that failed.

  Raises:
    Stopped: by a signal, which all processes got.
  """
  waiting, failed = list(names), []
  running: dict[int, tuple[str, subprocess.Popen]] = {}  # by share
  told = False
  with signals.held() as stop:
    while running or (waiting and not stop()):
      for i, share in enumerate(shares):
        if i not in running and waiting and not stop():
          name = waiting.pop(0)
          running[i] = name, _start([*command, f"--runs={name}"], share)
      time.sleep(_POLL)
      if stop() and not told:
        told = True
        for _, process in running.values():
          process.terminate()
      for i, (name, process) in [*running.items()]:
        if process.poll() is not None:
          del running[i]
          if process.returncode:
            failed.append(name)
  return failed


def _start(command: Sequence[str], share: Share) -> subprocess.Popen:
  """Starts a process on its share of the machine.

  It has a session of its own: Ctrl-C reaches it once, through this process.
  """
  cores = _cores()
  # A new process inherits the cores of the thread that starts it.
  if share.cores and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, share.cores)
  try:
    return subprocess.Popen(
      command,
      env=os.environ | share.variables,
      stdin=subprocess.DEVNULL,
      stdout=subprocess.DEVNULL,
      start_new_session=True,
    )
  finally:
    if share.cores and hasattr(os, "sched_setaffinity"):
      os.sched_setaffinity(0, cores)
