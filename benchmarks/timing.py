"""Interleaved timing: what disturbs one contestant disturbs the next as well.

In each round every contestant runs about as long as the others, in an order
that turns around from round to round; contestants are compared within a round,
and the ratios of the rounds give a median and a spread.

A contestant is a function of a number of steps that runs them, waits for
their results and returns the seconds it took. `Worker` is one in a process of
its own, so that no framework shares threads or memory with another and the
peak of its memory is its own (as Linux tells it).
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

# What a worker is sent in place of a number of steps.
_ASK = "ask"


class Spread(NamedTuple):
  """Of the rounds: the median and what 10 and 90 % of them lie below."""

  median: float
  low: float
  high: float


class Program(NamedTuple):
  """What a worker runs.

  Attributes:
    run: does a number of steps and waits for them.
    facts: of it, by name, for the table.
    device_peak: the most bytes it has held on its accelerator; None if it
      has none.
    ask: tells how it stands, between two turns; None if it has nothing to say.
  """

  run: Callable[[int], None]
  facts: dict[str, Any]
  device_peak: Callable[[], int] | None = None
  ask: Callable[[], Any] | None = None


def spread(values: np.ndarray) -> Spread:
  low, median, high = np.quantile(values, (0.1, 0.5, 0.9))
  return Spread(float(median), float(low), float(high))


def interleave(
  contestants: Mapping[str, Contestant], rounds: int, seconds: float
) -> dict[str, np.ndarray]:
  """Seconds a step takes: each contestant's [rounds].

  Args:
    contestants: by name, each run at least once before, so that it is
      compiled.
    rounds: at least 1.
    seconds: that a contestant runs in a round, about; at least one step.
  """
  steps = {
    name: max(1, round(seconds / run(1))) for name, run in contestants.items()
  }
  times = {name: [] for name in contestants}
  order = list(contestants)
  for _ in range(rounds):
    for name in order:
      times[name].append(contestants[name](steps[name]) / steps[name])
    order.reverse()
  return {name: np.asarray(taken) for name, taken in times.items()}


def timed(run: Callable[[int], None], steps: int) -> float:
  start = time.perf_counter()
  run(steps)
  return time.perf_counter() - start


def keep_to(threads: int | None) -> None:
  """Keeps this process and its workers to so many cores; None for all.

  To be called before any framework counts them; workers inherit it.
  """
  if threads:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:threads])


class WorkerError(Exception):
  """What a worker's program failed of, in one line."""


class Worker:
  """A program in a process of its own; a contestant once it has started.

  Memory is that of its accelerator where it has one, else of the process,
  above what that held after its imports.

  Attributes:
    facts: the program's.
    first_step: seconds of the first step, which compiles.
    first_peak: most bytes held up to its end.
  """

  def __init__(self, module: str, options: dict[str, Any]):
    """Starts `module.make_program(**options)` and runs its first step.

    Raises:
      WorkerError: it failed.
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
    """What the program tells of how it stands."""
    self._pipe.send(_ASK)
    return self._receive()

  def stop(self) -> int:
    """Ends it; the most bytes held since the first step.

    An accelerator's figure counts the first step too.
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
  """A worker whose facts are entered in a row of a table.

  Returns:
    The worker; None where it failed, of which the row then has a note.
  """
  try:
    worker = Worker(module, options)
  except WorkerError as error:
    row["note"] = f"does not run: {error}"
    return None
  row |= worker.facts
  row["compile_s"] = worker.first_step
  return worker


def _serve(pipe: Connection, module: str, options: dict[str, Any]) -> None:
  try:
    make_program = importlib.import_module(module).make_program
    before = _peak_of_process()
    program = make_program(**options)
    peak = program.device_peak or (lambda: _peak_of_process() - before)
    pipe.send((False, (program.facts, timed(program.run, 1), peak())))
    _forget_peak_of_process()
    while (order := pipe.recv()) is not None:
      answer = program.ask() if order == _ASK else timed(program.run, order)
      pipe.send((False, answer))
    pipe.send((False, peak()))
  # Whatever a framework raises is told by the parent.
  except Exception as error:
    text = " ".join(str(error).split())
    pipe.send((True, f"{type(error).__name__}: {text}"[:300]))


def _peak_of_process() -> int:
  status = pathlib.Path("/proc/self/status").read_text()
  return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def _forget_peak_of_process() -> None:
  """So that what a compiler took and freed does not count as the steps'."""
  ctypes.CDLL(None).malloc_trim(0)
  pathlib.Path("/proc/self/clear_refs").write_text("5")  # see proc(5)
