"""Runs parts as processes with a time limit, and records how each ended.

The record of a part is a file of its own, written when it ends. A part that is
recorded as done with the same command is not run again, so that the same
command continues where it was stopped. Delete the record to repeat a part.
"""

import contextlib
import datetime
import importlib.util
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from alcurr.core import files
from benchmarks.gpu.parts import Part

# Seconds from SIGTERM, at which a part may write what it has, to SIGKILL.
GRACE = 10.0
# With less time left, no other part is started.
SHORTEST = 15.0
DONE, SKIPPED, FAILED = "done", "skipped", "failed"
TIMED_OUT, NOT_RUN = "timed out", "not run"


class Record(NamedTuple):
  """How a part ended.

  Attributes:
    part: its name.
    status: DONE, SKIPPED without a package, FAILED, TIMED_OUT, or NOT_RUN for
      lack of time.
    seconds: that it took.
    command: that was run.
    date: of its end.
    reason: why it is not done, in one line.
  """

  part: str
  status: str
  seconds: float
  command: str
  date: str
  reason: str = ""


def read_record(folder: pathlib.Path, part: Part) -> Record | None:
  """Returns the record of a part, if there is one."""
  path = folder / f"{part.name}.json"
  return Record(**files.read_json(path)) if path.exists() else None


def run_parts(
  parts: Sequence[Part],
  folder: pathlib.Path,
  scratch: pathlib.Path,
  seconds: float,
) -> Iterator[Record]:
  """Runs parts within a time limit; yields the record of each.

  Args:
    parts: in order.
    folder: of tables and records.
    scratch: of logs, compiled programs and workdirs.
    seconds: that all may take.
  """
  folder.mkdir(parents=True, exist_ok=True)
  scratch.mkdir(parents=True, exist_ok=True)
  end = time.monotonic() + seconds
  for part in parts:
    command = _command(part, folder, scratch)
    before = read_record(folder, part)
    if before and before.status == DONE and before.command == command:
      yield before
      continue
    lacking = [x for x in part.packages if importlib.util.find_spec(x) is None]
    left = end - time.monotonic() - GRACE
    record = before or _record(part, command, NOT_RUN, 0.0, "no time was left")
    if lacking:
      text = f"{' and '.join(lacking)} not installed"
      record = _record(part, command, SKIPPED, 0.0, text)
    elif left >= SHORTEST:
      record = run_part(part, command, scratch, min(part.seconds, left))
      files.write_json(folder / f"{part.name}.json", record._asdict())
    yield record


def run_part(
  part: Part, command: str, scratch: pathlib.Path, seconds: float
) -> Record:
  """Runs a part to its end, or to its time limit.

  Its output goes to `<name>.log` in the scratch folder.
  """
  log = scratch / f"{part.name}.log"
  env = dict(os.environ)
  env.pop("JAX_COMPILATION_CACHE_DIR", None)
  if part.cached:
    env["JAX_COMPILATION_CACHE_DIR"] = str(scratch.absolute() / "programs")
  started = time.monotonic()
  with log.open("wb") as output:
    status = _run(
      [sys.executable, *shlex.split(command)[1:]], env, output, seconds
    )
  taken = time.monotonic() - started
  if status is None:
    text = f"stopped after {seconds:.0f} s"
    return _record(part, command, TIMED_OUT, taken, text)
  if status:
    text = _last_line(log) or "no output"
    return _record(
      part, command, FAILED, taken, f"exit status {status}: {text}"
    )
  return _record(part, command, DONE, taken, "")


def _run(
  command: Sequence[str],
  env: Mapping[str, str],
  output,
  seconds: float,
) -> int | None:
  """Returns the exit status; None if the time ran out.

  The process has a group of its own, which is ended with it.
  """
  process = subprocess.Popen(
    command,
    env=env,
    stdin=subprocess.DEVNULL,
    stdout=output,
    stderr=subprocess.STDOUT,
    start_new_session=True,
  )
  try:
    with contextlib.suppress(subprocess.TimeoutExpired):
      return process.wait(seconds)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
      process.wait(GRACE)
    return None
  finally:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _command(part: Part, folder: pathlib.Path, scratch: pathlib.Path) -> str:
  options = ["--out", str(folder / f"{part.name}.csv")]
  if part.workdir:
    options += ["--workdir", str(scratch / part.name)]
  return shlex.join(["python", "-m", *part.command, *options])


def _record(
  part: Part, command: str, status: str, seconds: float, reason: str
) -> Record:
  date = datetime.date.today().isoformat()
  return Record(part.name, status, round(seconds, 1), command, date, reason)


def _last_line(log: pathlib.Path) -> str:
  lines = log.read_text(errors="replace").splitlines()
  return next((line.strip() for line in lines[::-1] if line.strip()), "")[:300]
