"""Which states of a run are kept, and when: written while it goes on."""

import concurrent.futures
import math
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from alcurr.core import files
from alcurr.training import checkpoint
from alcurr.training.checkpoint import Checkpoint, RunState


def num_copies(config: ConfigDict) -> int:
  """States that a run may hold beside the one it trains.

  One that is on its way to the host; where the device is the host, the best
  so far stays beside it.
  """
  if not (config.checkpoint.minutes or config.checkpoint.steps):
    return 0
  return 2 if jax.default_backend() == "cpu" else 1


# The copies share no memory with a state, which the next chunk is given.
copy = jax.jit(lambda state: jax.tree.map(jax.numpy.copy, state))


class Checkpoints:
  """Writes a run's checkpoints in a thread of its own; a context manager.

  Only on leaving the context is it sure that they are on the disk.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    settings: ConfigDict,
    facts: Mapping[str, Any],
    mark: Callable[[], files.LogPosition | None] = lambda: None,
  ):
    """Of a run that goes on from the newest of the folder, or begins.

    Args:
      folder: made if need be, not those above it; what a killed process left
        half written there is removed.
      settings: `config.checkpoint`.
      facts: see `restore`.
      mark: the place in the run's file of rows, asked for at each checkpoint.
    """
    folder.mkdir(exist_ok=True)
    checkpoint.remove_unfinished(folder)
    self._folder, self._settings = folder, settings
    self._facts, self._mark = facts, mark
    told = checkpoint.read_manifests(folder)
    self._valid = {step: m.get("valid") for step, m in told.items()}
    self._going = {step: m.get("active_trials") for step, m in told.items()}
    self._last_step = max(self._valid, default=0)
    self._last_time = time.monotonic()
    self._best: Checkpoint | None = None  # not yet written
    self._thread = concurrent.futures.ThreadPoolExecutor(1, "checkpoints")
    self._writing: concurrent.futures.Future | None = None

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, kind, error, trace) -> None:
    self._thread.shutdown()
    if error is None:
      self._wait()

  def should_save(self, step: int, evaluated: bool) -> bool:
    """Whether `save` may write the state after a step.

    Args:
      step: the run's.
      evaluated: whether the state is evaluated too, and may be the best.

    Raises:
      MachineError: an earlier one could not be written.
    """
    if not (self._settings.minutes or self._settings.steps):
      return False
    # One at a time, so that there is memory for no more copies.
    if evaluated or (self._writing and self._writing.done()):
      self._wait()
    return evaluated or (self._writing is None and self._is_time(step))

  def save(
    self,
    step: int,
    kept: RunState,
    seconds: float,
    valid: float | None,
    going: int,
    last: bool = False,
  ) -> None:
    """Keeps a state of which the rows are written.

    Args:
      step: of the state.
      kept: no one else changes or donates it.
      seconds: of training, of all trials, up to the state.
      valid: mean merit of the trials, see `evaluate.merit`, or None.
      going: trials that have not gone wrong, one at least.
      last: whether it is written whatever the time.
    """
    saved = Checkpoint(step, kept, seconds, valid, going, self._mark())
    known = [v for v in self._valid.values() if v is not None]
    if self._best:
      known.append(self._best.valid)
    if valid is not None and valid > max(known, default=-math.inf):
      # Written with the next one: a run that is killed before that comes by
      # here again.
      self._best = saved._replace(
        run_state=jax.device_get(checkpoint.by_name(kept))
      )
    if step == self._last_step or not (last or self._is_time(step)):
      return
    self._wait()
    todo = [saved._replace(run_state=checkpoint.by_name(kept))]
    if self._best and self._best.step != step:
      todo.insert(0, self._best)
    self._best = None
    self._last_step, self._last_time = step, time.monotonic()
    self._writing = self._thread.submit(self._write_all, todo)

  def _is_time(self, step: int) -> bool:
    minutes, steps = self._settings.minutes, self._settings.steps
    waited = (time.monotonic() - self._last_time) / 60
    return bool(
      (minutes and waited >= minutes)
      or (steps and step - self._last_step >= steps)
    )

  def _wait(self) -> None:
    """For what is being written, and raises what it failed of."""
    if self._writing:
      writing, self._writing = self._writing, None
      writing.result()

  def _write_all(self, todo: list[Checkpoint]) -> None:
    while todo:
      saved = todo.pop(0)
      checkpoint.write(self._folder, saved, self._facts)
      self._valid[saved.step] = saved.valid
      self._going[saved.step] = saved.active_trials
      self._remove_old()

  def _remove_old(self) -> None:
    """All but the last few, the best, of equals the first, and the last one
    before a trial went wrong."""
    last = sorted(self._valid)[-self._settings.keep :]
    scored = {s: v for s, v in self._valid.items() if v is not None}
    best = max(sorted(scored), key=scored.get, default=None)
    before_wrong = {going: step for step, going in sorted(self._going.items())}
    for step in self._valid.keys() - {*last, best, *before_wrong.values()}:
      checkpoint.remove(self._folder, step)
      del self._valid[step], self._going[step]
