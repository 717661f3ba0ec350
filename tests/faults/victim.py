"""The real command line as a process to be harmed, and what it leaves."""

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
# Nothing is timed: whatever takes longer than this hangs.
PATIENCE = 240  # seconds


class Place(NamedTuple):
  """Where one experiment runs; programs and data are shared with others."""

  room: pathlib.Path  # holds the workdir, its cache beside it, and the logs
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
      # Even the smallest program is kept for the next process.
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


class Ended(NamedTuple):
  status: int  # of exit; negative: the signal that ended it
  log: str  # what it wrote to stderr

  def expect(self, status: int) -> None:
    """Fails unless it ended with this status."""
    if self.status != status:
      last = "\n".join(self.log.splitlines()[-15:])
      raise AssertionError(f"status {self.status}, not {status}:\n{last}")

  @property
  def sentence(self) -> str:
    """The one line in which it says why it stopped."""
    lines = [x for x in self.log.splitlines() if x.startswith("alcurr: ")]
    assert len(lines) == 1, self.log
    assert "Traceback" not in self.log, self.log
    return lines[0]


class Victim:
  """A process that runs an experiment."""

  def __init__(
    self, place: Place, fault: str = "", inside: Iterable[str] = ()
  ) -> None:
    """Starts it.

    Args:
      place: where.
      fault: for `at_start/sitecustomize.py`.
      inside: a command that runs the command it is given.
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
    """Waits until a pattern is in the log, or something else is so."""
    deadline = time.monotonic() + PATIENCE
    while not (seen() if callable(seen) else re.search(seen, self.log)):
      assert self.process.poll() is None, f"It ended before.\n{self.log}"
      assert time.monotonic() < deadline, f"No {seen} yet.\n{self.log}"
      time.sleep(0.001)

  @property
  def log(self) -> str:
    return self._log.read_text()

  def send(self, number: int) -> None:
    self.process.send_signal(number)

  def freeze(self) -> None:
    """Stops it where it is, all its threads, until it is thawed."""
    self.send(signal.SIGSTOP)
    os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

  def thaw(self) -> None:
    self.send(signal.SIGCONT)

  def end(self) -> Ended:
    """Waits for its end; one that hangs is killed, and that is a failure."""
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
  """An array's type, shape and bits, in short."""
  content = hashlib.blake2b(np.ascontiguousarray(array), digest_size=8)
  return f"{array.dtype} {array.shape} {content.hexdigest()}"


def result(workdir: pathlib.Path) -> dict[str, Any]:
  """All that an experiment has found, but how long it took, bit for bit."""
  found = {}
  results = pd.read_csv(workdir / "results.csv", dtype=str)
  found["results.csv"] = [
    _without_seconds(row) for row in results.to_dict("records")
  ]
  for run in sorted((workdir / "runs").iterdir()):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    found[f"{run.name}/metrics.jsonl"] = [
      _without_seconds(json.loads(line)) for line in lines
    ]
    with np.load(run / "test.npz", allow_pickle=False) as arrays:
      found |= {f"{run.name}/{k}": _print(v) for k, v in arrays.items()}
    last = newest(workdir, run.name)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as orbax:
      arrays = orbax.restore(last / "state")
    found |= {
      f"{run.name}/{last.name}/{k}": _print(v) for k, v in arrays.items()
    }
  return found


def contents(folder: pathlib.Path) -> dict[str, str]:
  """Every file's bytes, in short."""
  return {
    str(path.relative_to(folder)): hashlib.blake2b(
      path.read_bytes(), digest_size=8
    ).hexdigest()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


def rows(workdir: pathlib.Path, sampler: str) -> list[dict[str, Any]]:
  """The whole lines of a run's metrics, so far."""
  path = workdir / "runs" / sampler / "metrics.jsonl"
  text = path.read_text() if path.exists() else ""
  return [json.loads(line) for line in text.split("\n")[:-1]]


def folder(workdir: pathlib.Path, sampler: str, step: int) -> pathlib.Path:
  return workdir / "runs" / sampler / "checkpoints" / str(step)


def checkpoints(workdir: pathlib.Path, sampler: str) -> list[int]:
  """The steps of a run's whole checkpoints, in order."""
  parent = folder(workdir, sampler, 0).parent
  paths = parent.iterdir() if parent.exists() else ()
  return sorted(int(path.name) for path in paths if path.name.isdigit())


def newest(workdir: pathlib.Path, sampler: str) -> pathlib.Path:
  return folder(workdir, sampler, checkpoints(workdir, sampler)[-1])


def flip(path: pathlib.Path, seed: int = 0) -> None:
  """Flips one bit of a file, somewhere."""
  rng = np.random.default_rng(seed)
  content = bytearray(path.read_bytes())
  content[rng.integers(len(content))] ^= 1 << rng.integers(8)
  path.write_bytes(content)
