"""An experiment as jobs of Slurm, submitted by submitit.

A job makes what the runs share, an array has a job a run, and the last job
writes the report. `config.slurm` says what to ask of the scheduler. A job that
is preempted, requeued, or near its time limit saves and resumes by itself.
Logs, and files of submitit, are in the folder `slurm` of the workdir.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from alcurr.core import files, lock
from alcurr.core.errors import FaultError, UserError
from alcurr.core.extras import import_extra

_POLL = 0.2  # seconds between two looks at the process
_MANY = 10_000  # times that a job may reach its time limit and be requeued


class Job:
  """A command line, as submitit's job runs it."""

  def __init__(self, command: Sequence[str], threads: int):
    self._command, self._threads = list(command), threads
    self._process: subprocess.Popen | None = None

  def __call__(self) -> None:
    """Runs the command; the job ends with its exit status."""
    # Slurm announces the time limit to all processes by this signal, which
    # would end the command. It is for `checkpoint`.
    handler = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    # Nodes may differ in cores, but results depend on the threads.
    variables = {"NPROC": str(self._threads)} | os.environ
    self._process = subprocess.Popen(self._command, env=variables)
    signal.signal(signal.SIGUSR2, handler)
    # Not by a wait, which `checkpoint` would interrupt and call again.
    while self._process.poll() is None:
      time.sleep(_POLL)
    if self._process.returncode:
      raise SystemExit(self._process.returncode)

  def checkpoint(self) -> Any:
    """Saves, before submitit requeues the job; returns what is to run then."""
    import submitit

    self._process.terminate()
    self._process.wait()
    return submitit.helpers.DelayedSubmission(Job(self._command, self._threads))


def submit(
  config: ConfigDict,
  workdir: pathlib.Path,
  command: Sequence[str],
  names: Sequence[str],
) -> str:
  """Submits the jobs of an experiment; returns their numbers in a text.

  Args:
    config: of the experiment.
    workdir: its folder, which all nodes can write to.
    command: the command line of the experiment, without `--runs`.
    names: of the samplers to run.

  Raises:
    UserError: submitit or Slurm is not installed.
    FaultError: Slurm refused a job.
  """
  submitit = import_extra("submitit", "slurm", "--launch=slurm")
  if not shutil.which("sbatch") or not shutil.which("srun"):
    text = "expected Slurm's sbatch and srun; submit from a login node"
    raise UserError("missing", "--launch", text)
  folder = workdir / "slurm"
  # Kept by the folder of the logs, so that the lock's end does not remove it.
  with lock.locked(workdir, wait=True):
    files.make_folder(folder)
  executor = submitit.AutoExecutor(
    folder, cluster="slurm", slurm_max_num_timeout=_MANY
  )
  executor.update_parameters(**_parameters(config.slurm))
  threads = config.slurm.cpus

  def submit_jobs(
    title: str, dependency: str, commands: Sequence[Sequence[str]]
  ) -> list[str]:
    executor.update_parameters(name=f"{workdir.name}-{title}")
    if dependency:
      executor.update_parameters(slurm_dependency=dependency)
    with executor.batch():
      jobs = [executor.submit(Job(line, threads)) for line in commands]
    return [job.job_id for job in jobs]

  try:
    (shared,) = submit_jobs("scores", "", [[*command, "--runs="]])
    text = [f"{shared}: what the runs share"]
    if names:
      runs = [[*command, f"--runs={name}"] for name in names]
      jobs = submit_jobs("runs", f"afterok:{shared}", runs)
      pairs = zip(jobs, names, strict=True)
      text += [f"{job}: {name}" for job, name in pairs]
      array = jobs[0].split("_")[0]
      # Of a run that failed, the report says so.
      line = [sys.executable, "-m", "alcurr.report", str(workdir)]
      (report,) = submit_jobs("report", f"afterany:{array}", [line])
      text.append(f"{report}: report")
  except subprocess.CalledProcessError as error:
    raise _refusal(error) from error
  except submitit.core.utils.FailedJobError as error:
    raise _refusal(error) from error
  return "\n".join([*text, f"Logs: {folder}"])


def _refusal(error: Exception) -> FaultError:
  """Returns the scheduler's own sentence as an error."""
  lines = str(error).strip().splitlines() or [type(error).__name__]
  return FaultError("scheduler", "--launch", lines[-1].strip().rstrip("."))


def _parameters(settings: ConfigDict) -> dict[str, Any]:
  """Returns `config.slurm` as submitit has it, without fields left empty."""
  given = {
    "timeout_min": settings.minutes,
    "cpus_per_task": settings.cpus,
    "mem_gb": settings.memory_gb,
    "gpus_per_node": settings.gpus,
    "slurm_partition": settings.partition,
    "slurm_account": settings.account,
    "slurm_constraint": settings.constraint,
    "slurm_array_parallelism": settings.parallel,
  }
  given = {name: value for name, value in given.items() if value}
  more = {
    "requeue": True,
    # Jobs that wait for one that failed do not wait for ever.
    "kill-on-invalid-dep": "yes",
  }
  return given | {"slurm_additional_parameters": more}
