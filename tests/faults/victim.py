"""Runs the command line as a process to disturb, and reads its files."""

import hashlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import orbax.checkpoint as ocp
import pandas as pd

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
# Nothing is timed: a process that takes longer than this hangs.
PATIENCE = 240  # seconds


class Place(NamedTuple):
  """Where an experiment runs; programs and data are shared with others."""

  room: pathlib.Path  # holds the workdir, its cache, and the logs
  shared: pathlib.Path  # holds `data` and `programs`

  @property
  def workdir(self) -> pathlib.Path:
    return self.room / "run"

  def command(self) -> list[str]:
    return [
      *(sys.executable, "-m", "alcurr.main", f"--config={HERE}/small.py"),
      *(f"--workdir={self.workdir}", f"--config.data.dir={self.shared}/data"),
    ]

  def environment(self, fault: str = "") -> dict[str, str]:
    return os.environ | {
      "PYTHONPATH": f"{HERE}/at_start:{ROOT}",
      "FAULT": fault,
      "JAX_COMPILATION_CACHE_DIR": str(self.shared / "programs"),
      # Even the smallest program is saved for the next process.
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


class Ended(NamedTuple):
  status: int  # of exit; minus the number of the signal that ended it
  log: str  # what it wrote to stderr

  def expect(self, status: int) -> None:
    """Fails unless it ended with this status."""
    if self.status != status:
      last = "\n".join(self.log.splitlines()[-15:])
      raise AssertionError(f"status {self.status}, not {status}:\n{last}")

  @property
  def sentence(self) -> str:
    """The line that says why it stopped; fails unless there is exactly one."""
    lines = [x for x in self.log.splitlines() if x.startswith("alcurr: ")]
    assert len(lines) == 1, self.log
    assert "Traceback" not in self.log, self.log
    return lines[0]


class Victim:
  """A process that runs an experiment."""

  def __init__(
    self, place: Place, fault: str = "", inside: Iterable[str] = ()
  ) -> None:
    """Starts the process.

    Args:
      place: where it runs.
      fault: for `at_start/sitecustomize.py`.
      inside: a command that runs the command in its arguments.
    """
    place.room.mkdir(parents=True, exist_ok=True)
    number = len(list(place.room.parent.glob(f"{place.room.name}.log*")))
    self._log = place.room.parent / f"{place.room.name}.log{number}"
    with self._log.open("w") as log:
      self.process = subprocess.Popen(
        [*inside, *place.command()],
        cwd=ROOT,
        env=place.environment(fault),
        stdout=subprocess.DEVNULL,
        stderr=log,
      )

  def wait_for(self, seen: str | Callable[[], Any]) -> None:
    """Waits for a pattern in the log, or until a function returns true."""
    deadline = time.monotonic() + PATIENCE
    while not (seen() if callable(seen) else re.search(seen, self.log)):
      assert self.process.poll() is None, f"The process ended.\n{self.log}"
      assert time.monotonic() < deadline, f"No {seen} yet.\n{self.log}"
      time.sleep(0.001)

  @property
  def log(self) -> str:
    return self._log.read_text()

  def send(self, number: int) -> None:
    self.process.send_signal(number)

  def freeze(self) -> None:
    """Pauses all its threads until `thaw`."""
    self.send(signal.SIGSTOP)
    os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

  def thaw(self) -> None:
    self.send(signal.SIGCONT)

  def end(self) -> Ended:
    """Waits for its end; a process that hangs is killed, and fails the test."""
    try:
      status = self.process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
      self.process.kill()
      self.process.wait()
      raise AssertionError(f"It hangs.\n{self.log}") from None
    return Ended(status, self.log)


def run(place: Place) -> Ended:
  return Victim(place).end()


def _without_seconds(row: dict[str, Any]) -> dict[str, Any]:
  return {k: v for k, v in row.items() if "seconds" not in k}


def _print(array: np.ndarray) -> str:
  """Returns an array's type, shape and a hash of its bits."""
  content = hashlib.blake2b(np.ascontiguousarray(array), digest_size=8)
  return f"{array.dtype} {array.shape} {content.hexdigest()}"


def result(workdir: pathlib.Path) -> dict[str, Any]:
  """Returns all results of an experiment but its times, bit for bit."""
  results = {}
  table = pd.read_csv(workdir / "results.csv", dtype=str)
  results["results.csv"] = [
    _without_seconds(row) for row in table.to_dict("records")
  ]
  for run in sorted((workdir / "runs").iterdir()):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    results[f"{run.name}/metrics.jsonl"] = [
      _without_seconds(json.loads(line)) for line in lines
    ]
    with np.load(run / "test.npz", allow_pickle=False) as arrays:
      results |= {f"{run.name}/{k}": _print(v) for k, v in arrays.items()}
    last = latest(workdir, run.name)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as orbax:
      arrays = orbax.restore(last / "state")
    results |= {
      f"{run.name}/{last.name}/{k}": _print(v) for k, v in arrays.items()
    }
  return results


def contents(folder: pathlib.Path) -> dict[str, str]:
  """Returns a hash of each file."""
  return {
    str(path.relative_to(folder)): hashlib.blake2b(
      path.read_bytes(), digest_size=8
    ).hexdigest()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


def rows(workdir: pathlib.Path, sampler: str) -> list[dict[str, Any]]:
  """Returns the complete lines of a run's metrics so far."""
  path = workdir / "runs" / sampler / "metrics.jsonl"
  text = path.read_text() if path.exists() else ""
  return [json.loads(line) for line in text.split("\n")[:-1]]


def folder(workdir: pathlib.Path, sampler: str, step: int) -> pathlib.Path:
  return workdir / "runs" / sampler / "checkpoints" / str(step)


def checkpoints(workdir: pathlib.Path, sampler: str) -> list[int]:
  """Returns the steps of a run's complete checkpoints, in order."""
  parent = folder(workdir, sampler, 0).parent
  paths = parent.iterdir() if parent.exists() else ()
  return sorted(int(path.name) for path in paths if path.name.isdigit())


def latest(workdir: pathlib.Path, sampler: str) -> pathlib.Path:
  return folder(workdir, sampler, checkpoints(workdir, sampler)[-1])


def flip(path: pathlib.Path, seed: int = 0) -> None:
  """Flips a random bit of a file."""
  rng = np.random.default_rng(seed)
  content = bytearray(path.read_bytes())
  content[rng.integers(len(content))] ^= 1 << rng.integers(8)
  path.write_bytes(content)
