"""Six runs as jobs of a real Slurm; `set_up.sh` starts one on this machine."""

import pathlib
import shutil
import subprocess
import time

import pytest
from many_runs import assert_same, run

pytestmark = [
  pytest.mark.slurm,
  pytest.mark.skipif(not shutil.which("sbatch"), reason="there is no Slurm"),
]
pytest.importorskip("submitit")
_PATIENCE = 900  # seconds for all jobs; they share two cores


def _slurm(*words: str) -> str:
  done = subprocess.run(words, capture_output=True, text=True, check=True)
  return done.stdout


def _is_queued(job: str) -> bool:
  """Returns whether a job, or one of its array, waits or runs."""
  return bool(_slurm("squeue", "--noheader", f"--jobs={job}").strip())


def _wait(condition) -> None:
  end = time.monotonic() + _PATIENCE
  while not condition():
    assert time.monotonic() < end, _slurm("squeue")
    time.sleep(0.1)


def _start_again(job: str) -> None:
  """Starts a requeued job, which Slurm would do after two minutes."""
  _wait(lambda: "PENDING" in _slurm("scontrol", "show", "job", job))
  _slurm("scontrol", "update", f"JobId={job}", "StartTime=now")


def _submit(workdir: pathlib.Path, *options: str) -> dict[str, str]:
  """Returns the numbers of the jobs, by what each is for."""
  done = run(
    workdir,
    "--launch=slurm",
    "--config.slurm.cpus=1",
    "--config.slurm.minutes=30",
    *options,
    count=6,
  )
  assert done.returncode == 0, done.stderr
  lines = [line.partition(": ") for line in done.stdout.splitlines()]
  return {what: job for job, _, what in lines if job[:1].isdecimal()}


def test_a_killed_job_is_requeued_and_all_ends_as_in_one_process(tmp_path):
  whole, workdir = tmp_path / "whole", tmp_path / "array"
  done = run(whole, count=6)
  assert done.returncode == 0, done.stderr
  jobs = _submit(workdir)
  assert len(jobs) == 2 + 6
  saved = workdir / "runs/bandit_2/checkpoints"
  _wait(lambda: [*saved.glob("[0-9]*")])
  job = jobs["bandit_2"]
  assert not (workdir / "runs/bandit_2/result.json").exists()
  _slurm("scontrol", "requeue", job)
  _start_again(job)
  _wait(lambda: not _is_queued(jobs["report"]))
  assert "Restarts=1" in _slurm("scontrol", "show", "job", job)
  logs = [*(workdir / "slurm").glob("*_log.err")]
  text = "".join(path.read_text() for path in logs)
  assert "bandit_2: resumes from step" in text
  assert "Traceback" not in text
  assert_same(whole, workdir)
  assert (workdir / "report.html").exists()


def test_a_job_at_its_time_limit_saves_and_is_requeued(tmp_path):
  """By the signal that Slurm sends then; see `--signal` of sbatch."""
  workdir = tmp_path / "one"
  options = ("--config.budget=20000 steps", "--config.checkpoint.steps=400")
  jobs = _submit(workdir, "--runs=uniform", *options)
  job = jobs["uniform"]
  saved = workdir / "runs/uniform/checkpoints"
  try:
    _wait(lambda: [*saved.glob("[0-9]*")])
    _slurm("scancel", "--signal=USR2", job)
    _start_again(job)
    (log,) = (workdir / "slurm").glob(f"{job}*_log.err")
    _wait(lambda: "uniform: resumes from step" in log.read_text())
    assert "stopped by SIGTERM" in log.read_text()
  finally:
    _slurm("scancel", *jobs.values())


def test_runs_do_not_start_without_what_they_share(tmp_path):
  """The first job fails, and nothing waits for ever."""
  workdir = tmp_path / "array"
  jobs = _submit(workdir, "--config.difficulty.budget=1000000 steps")
  _slurm("scancel", jobs["what the runs share"])
  _wait(lambda: not _is_queued(jobs["report"]))
  assert not [*workdir.glob("runs/*/checkpoints")]
