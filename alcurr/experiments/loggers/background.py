"""Trackers fed beside the training, which never waits for one.

Each has a thread and a queue of its own. One that fails, or is away, is told
of once in the log and fed no more; what it has missed is in metrics.jsonl.
"""

import itertools
import pathlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from absl import logging

from alcurr.core import files
from alcurr.core.errors import FaultError, UserError
from alcurr.experiments.loggers import (
  TRACKERS,
  Experiment,
  Row,
  Tracker,
  scalars,
)

PAUSE = 2.0  # seconds in which rows gather, to be given together
PATIENCE = 60.0  # seconds at the end for a tracker that does not move

_Call = Callable[[Tracker], None]


class _Written(NamedTuple):
  """A row that a tracker is still to be given."""

  name: str  # of the sampler
  row: Row


class Trackers:
  """All trackers of an experiment that runs; a context manager.

  Nothing that is asked of them raises or waits, but for leaving the context.
  """

  def __init__(
    self,
    experiment: Experiment,
    names: Sequence[str],
    pause: float = PAUSE,
    patience: float = PATIENCE,
  ) -> None:
    """Trackers of the registry, each of which is imported in its thread.

    Nothing is written before `start`.

    Args:
      experiment: which is to be shown.
      names: of the trackers.
      pause: seconds in which rows gather.
      patience: seconds in which a tracker must do something at the end, or it
        is left.
    """
    self._runs = experiment.workdir / "runs"
    self._patience = patience
    self._feeds = [_Feed(experiment, name, pause) for name in names]

  def __enter__(self) -> "Trackers":
    return self

  def __exit__(self, *_) -> None:
    for feed in self._feeds:
      feed.close()
    for feed in self._feeds:
      feed.wait(self._patience)

  def start(self) -> None:
    """The experiment's config.json is there: the trackers are made."""
    self._put(lambda tracker: None)

  def begin(self, name: str, size: int | None = None) -> None:
    """A sampler's run begins, or goes on, and the gallery is there.

    Args:
      name: of the sampler.
      size: bytes of its metrics.jsonl that it goes on after; None: all.
    """
    path = self._runs / name / "metrics.jsonl"
    self._put(
      lambda tracker: tracker.begin(name, scalars.read_rows(path, size))
    )

  def write(self, name: str, row: dict[str, Any]) -> None:
    """A row of the run's metrics.jsonl, as it is written there."""
    if self._feeds:
      self._put(_Written(name, files.plain(row)))

  def end(self, name: str) -> None:
    """The run's result.json is there."""
    path = self._runs / name / "result.json"
    self._put(lambda tracker: tracker.end(name, files.read_json(path)))

  def report(self) -> None:
    """The experiment's figures and page are there."""
    self._put(lambda tracker: tracker.report())

  def _put(self, call: _Call | _Written) -> None:
    for feed in self._feeds:
      feed.put(call)


class _Feed:
  """One tracker, its queue and its thread."""

  def __init__(self, experiment: Experiment, name: str, pause: float) -> None:
    self._experiment, self._name, self._pause = experiment, name, pause
    self._calls: queue.SimpleQueue[_Call | _Written | None] = (
      queue.SimpleQueue()
    )
    self._closing = threading.Event()
    self._told = False  # that it failed
    self._moves = 0  # what it has come through
    # A daemon: one that hangs does not keep the process.
    self._thread = threading.Thread(target=self._run, name=name, daemon=True)
    self._thread.start()

  def put(self, call: _Call | _Written | None) -> None:
    if not self._told:
      self._calls.put(call)

  def close(self) -> None:
    """No more is to come."""
    self.put(None)
    self._closing.set()

  def wait(self, patience: float) -> None:
    """Until it is through, or has not moved for so many seconds."""
    moves = None
    while self._thread.is_alive() and moves != self._moves:
      moves = self._moves
      self._thread.join(patience)
    if self._thread.is_alive():
      self._tell(f"nothing came of it for {patience:g} seconds")

  def _run(self) -> None:
    # Whatever it is, and of whosever library: the run goes on.
    try:
      make, tracker = TRACKERS[self._name].load(), None
      for calls in self._gathered():
        if tracker is None:
          tracker = make(self._experiment)
          logging.info("%s: %s", self._name, tracker.look)
        for call in _joined(calls):
          self._moves += 1
          call(tracker)
      if tracker:
        tracker.close()
    except Exception as error:
      self._tell(in_words(error))

  def _gathered(self) -> Iterator[list[_Call | _Written]]:
    """What there is to do, again and again, until it is closed."""
    pause = 0.0  # what comes first is for it to be made
    while (call := self._calls.get()) is not None:
      calls = [call]
      self._closing.wait(pause)
      pause = self._pause
      while not self._calls.empty() and (call := self._calls.get()) is not None:
        calls.append(call)
      yield calls
      if call is None:
        return

  def _tell(self, why: str) -> None:
    if self._told:
      return
    self._told = True
    logging.warning(
      "%s: %s. The run goes on without it; to have all of it there later: "
      "python -m alcurr.experiments.loggers %s --to=%s",
      *(self._name, why, self._experiment.workdir, self._name),
    )


def _joined(calls: Sequence[_Call | _Written]) -> Iterator[_Call]:
  """The calls in order, rows of one run that follow each other in one."""
  for name, group in itertools.groupby(
    calls, lambda call: call.name if isinstance(call, _Written) else None
  ):
    if name is None:
      yield from group
    else:
      yield _write(name, [written.row for written in group])


def _write(name: str, rows: list[Row]) -> _Call:
  return lambda tracker: tracker.write(name, rows)


def in_words(error: Exception) -> str:
  """An error in one line, with its kind where the words are not ours."""
  lines = str(error).strip().splitlines() or [""]
  ours = isinstance(error, UserError | FaultError)
  kind = "" if ours else f"{type(error).__name__}: "
  return f"{kind}{lines[0].rstrip('.')}".rstrip(": ")


def replay(tracker: Tracker, workdir: pathlib.Path, names: list[str]) -> None:
  """Tells a tracker all that an experiment has left, whatever it knows.

  Args:
    tracker: that is closed afterwards.
    workdir: of the experiment.
    names: of its samplers.
  """
  for name in names:
    folder = workdir / "runs" / name
    if (folder / "metrics.jsonl").exists():
      tracker.begin(name, scalars.read_rows(folder / "metrics.jsonl"))
      if (folder / "result.json").exists():
        tracker.end(name, files.read_json(folder / "result.json"))
  if (workdir / "report.html").exists():
    tracker.report()
  tracker.close()
