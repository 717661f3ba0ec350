"""Interleaved timing, so that a disturbance affects all contestants alike.

In each round every contestant runs for about the same time. The order is
reversed from round to round. Contestants are compared within a round, and the
ratios of all rounds have a median and a spread.

A contestant is a function of a number of steps. It runs them, waits for the
results and returns the seconds taken. A `Worker` is a contestant in its own
process, so that frameworks share neither threads nor memory. Its peak memory is
that of its process, as Linux reports it.
"""

import ctypes
import importlib
import multiprocessing
import os
import pathlib
import re
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

Contestant = Callable[[int], float]

# Sent to a worker instead of a number of steps.
_ASK = "ask"


class Spread(NamedTuple):
  """The median of the rounds, and their 10 % and 90 % quantiles."""

  median: float
  low: float
  high: float


class Program(NamedTuple):
  """The program of a worker.

  Attributes:
    run: runs a number of steps and waits for them.
    facts: columns for the table, by name.
    device_peak: returns its peak memory on the accelerator in bytes; None
      without an accelerator.
    ask: reports its state, between two turns; None if it has none to report.
  """

  run: Callable[[int], None]
  facts: dict[str, Any]
  device_peak: Callable[[], int] | None = None
  ask: Callable[[], Any] | None = None


def spread(values: np.ndarray) -> Spread:
  """Returns the median and quantiles of the rounds."""
  low, median, high = np.quantile(values, (0.1, 0.5, 0.9))
  return Spread(float(median), float(low), float(high))


def interleave(
  contestants: Mapping[str, Contestant],
  rounds: int,
  seconds: float,
  least: int = 1,
) -> dict[str, np.ndarray]:
  """Returns the seconds of a step for each contestant: [rounds].

  Args:
    contestants: contestants by name; each has run before, so it is compiled.
    rounds: at least 1.
    seconds: approximate time of a contestant in a round.
    least: steps in a round, however long they take.
  """
  steps = {
    name: max(least, round(seconds / run(1)))
    for name, run in contestants.items()
  }
  times = {name: [] for name in contestants}
  order = list(contestants)
  for _ in range(rounds):
    for name in order:
      times[name].append(contestants[name](steps[name]) / steps[name])
    order.reverse()
  return {name: np.asarray(taken) for name, taken in times.items()}


def timed(run: Callable[[int], None], steps: int) -> float:
  """Runs a number of steps; returns the seconds taken."""
  start = time.perf_counter()
  run(steps)
  return time.perf_counter() - start


def limit_cores(threads: int | None) -> None:
  """Limits this process and its workers to some cores; None for all.

  Call it before any framework counts the cores. Workers inherit it.
  """
  if threads:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:threads])


class WorkerError(Exception):
  """A failure of a worker's program, in one line."""


class Worker:
  """A contestant that runs a program in its own process.

  Memory is that of its accelerator if it has one. Otherwise it is that of the
  process, above its memory after imports.

  Attributes:
    facts: the facts of the program.
    first_step: seconds of the first step, which compiles.
    first_peak: peak memory until the end of the first step, in bytes.
  """

  def __init__(self, module: str, options: dict[str, Any]):
    """Starts `module.make_program(**options)` and runs its first step.

    Raises:
      WorkerError: the program failed.
    """
    context = multiprocessing.get_context("spawn")
    self._pipe, theirs = context.Pipe()
    self._process = context.Process(
      target=_serve, args=(theirs, module, options), daemon=True
    )
    self._process.start()
    theirs.close()
    self.facts, self.first_step, self.first_peak = self._receive()

  def __call__(self, steps: int) -> float:
    self._pipe.send(steps)
    return self._receive()

  def ask(self) -> Any:
    """Returns the state that the program reports."""
    self._pipe.send(_ASK)
    return self._receive()

  def stop(self) -> int:
    """Stops the worker; returns its peak memory after the first step.

    The peak of an accelerator includes the first step.
    """
    self._pipe.send(None)
    peak = self._receive()
    self._process.join()
    return peak

  def _receive(self):
    try:
      failed, result = self._pipe.recv()
    except EOFError as error:
      self._process.join()
      raise WorkerError(
        f"its process ended with status {self._process.exitcode}"
      ) from error
    if failed:
      self._process.join()
      raise WorkerError(result)
    return result


def start(
  module: str, options: dict[str, Any], row: dict[str, Any]
) -> Worker | None:
  """Starts a worker and adds its facts to a row of a table.

  Returns:
    The worker; None if it failed, with a note in the row.
  """
  try:
    worker = Worker(module, options)
  except WorkerError as error:
    row["note"] = f"failed: {error}"
    return None
  row |= worker.facts
  row["compile_s"] = worker.first_step
  return worker


def _serve(pipe: Connection, module: str, options: dict[str, Any]) -> None:
  try:
    make_program = importlib.import_module(module).make_program
    before = _process_peak()
    program = make_program(**options)
    peak = program.device_peak or (lambda: _process_peak() - before)
    pipe.send((False, (program.facts, timed(program.run, 1), peak())))
    _reset_process_peak()
    while (order := pipe.recv()) is not None:
      answer = program.ask() if order == _ASK else timed(program.run, order)
      pipe.send((False, answer))
    pipe.send((False, peak()))
  # The parent reports whatever a framework raises.
  except Exception as error:
    text = " ".join(str(error).split())
    pipe.send((True, f"{type(error).__name__}: {text}"[:300]))


def _process_peak() -> int:
  status = pathlib.Path("/proc/self/status").read_text()
  return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def _reset_process_peak() -> None:
  """Resets the peak, so that memory of the compiler does not count."""
  ctypes.CDLL(None).malloc_trim(0)
  pathlib.Path("/proc/self/clear_refs").write_text("5")  # see proc(5)
