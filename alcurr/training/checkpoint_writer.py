"""Writes a run's checkpoints with Orbax's CheckpointManager.

The manager writes in the background under a temporary name, renames a complete
checkpoint, and deletes old ones. Our manifest is added before the rename.
"""

import contextlib
import errno
import math
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from ml_collections import ConfigDict

from alcurr.core import environment, files
from alcurr.core.errors import MachineError
from alcurr.data import cache
from alcurr.training import checkpoint
from alcurr.training.checkpoint import Checkpoint

_ORBAX = pathlib.Path(ocp.__file__).parent
_UNFINISHED = f"*{ocp.path.atomicity.TMP_DIR_SUFFIX}*"
# For the files of Orbax and the manifest, which measured less than 100 kB.
_OVERHEAD = 256 * 1024  # bytes

# The copies share no memory with a state that is donated to the next chunk.
copy_state = jax.jit(lambda state: jax.tree.map(jax.numpy.copy, state))


def num_copies(config: ConfigDict) -> int:
  """Returns how many copies of its state a run may have on the device.

  One is being written. The best since the last checkpoint waits in host memory.
  """
  if not (config.checkpoint.minutes or config.checkpoint.steps):
    return 0
  return 2 if jax.default_backend() == "cpu" else 1


class CheckpointWriter(contextlib.AbstractContextManager):
  """Writes checkpoints in the background; a context manager.

  It preserves the last `keep`, the best on the validation metric, and the last
  before each divergence. All writes are complete when the context ends.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    settings: ConfigDict,
    fingerprint: Mapping[str, Any],
    log_position: Callable[[], files.LogPosition | None] = lambda: None,
  ):
    """Opens the checkpoints of a new or resumed run.

    Args:
      folder: created, but not its parents; unfinished ones are deleted.
      settings: `config.checkpoint`.
      fingerprint: see `checkpoint.restore`.
      log_position: returns the current position in the metrics file.
    """
    files.make_folder(folder)
    self._folder, self._settings = folder, settings
    self._fingerprint, self._log_position = fingerprint, log_position
    self._remove_unfinished()
    self._manifests = {}  # by step, without damaged ones
    for step in checkpoint.steps(folder):
      with contextlib.suppress(*cache.UNREADABLE):
        self._manifests[step] = checkpoint.read_manifest(folder / str(step))
    self._last_step = max(checkpoint.steps(folder), default=0)
    self._last_time = time.monotonic()
    self._best: Checkpoint | None = None  # not written yet
    known = (m["valid"] for m in self._manifests.values())
    self._best_score = max([x for x in known if x is not None] or [-math.inf])
    self._manager = ocp.CheckpointManager(
      self._folder,
      options=ocp.CheckpointManagerOptions(
        create=False,
        lightweight_initialize=True,  # our manifests have the metrics
        preservation_policy=self,
        async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
        multiprocessing_options=checkpoint.ALONE,
      ),
    )
    self._writing = 0  # the step of the checkpoint that is being written
    self._descriptor = os.open(folder, os.O_RDONLY)
    logging.get_absl_logger().addFilter(_is_no_orbax_traceback)
    self._unraisablehook = sys.unraisablehook
    sys.unraisablehook = self._report_unraisable

  def __exit__(self, kind, error, trace) -> None:
    try:
      with self._failures():
        self._manager.close()
      if error is None:  # otherwise writes may still be pending
        sys.unraisablehook = self._unraisablehook
    except MachineError:
      if error is None:
        raise
    finally:
      os.close(self._descriptor)
      logging.get_absl_logger().removeFilter(_is_no_orbax_traceback)

  def should_save(self, step: int, evaluated: bool) -> bool:
    """Returns whether `save` may need the state after a step.

    If it is evaluated, it may be the best.

    Raises:
      MachineError: an earlier checkpoint could not be written.
    """
    if not (self._settings.minutes or self._settings.steps):
      return False
    # One at a time, so that no more than `num_copies` are in memory.
    if self._manager.is_saving_in_progress() and not evaluated:
      return False
    with self._failures():
      self._manager.wait_until_finished()
    return evaluated or self._is_time(step)

  def save(self, state: Checkpoint, last: bool = False) -> None:
    """Saves a state with an active trial, whose rows are in the metrics file.

    Its arrays must not be changed or donated. If the best so far is not due, it
    is written with the next that is; the run's `last` always is.

    Raises:
      MachineError: this or an earlier checkpoint could not be written.
    """
    state = state._replace(log_position=self._log_position())
    is_due = last or self._is_time(state.step)
    if state.valid is not None and state.valid > self._best_score:
      self._best_score = state.valid
      self._best = None if is_due else _on_host(state)
    if state.step == self._last_step or not is_due:
      return
    if self._best:
      self._write(self._best)
      self._best = None
    self._write(_on_host(state))
    self._last_step, self._last_time = state.step, time.monotonic()

  def should_preserve(self, checkpoints, *, context) -> list[bool]:
    """Answers Orbax: the last, the best, the last before each divergence."""
    steps = sorted(info.step for info in checkpoints)
    good = {s: self._manifests[s] for s in steps if s in self._manifests}
    valid = {s: m["valid"] for s, m in good.items() if m["valid"] is not None}
    last_with = {m["active_trials"]: step for step, m in good.items()}
    preserved = {*steps[-self._settings.keep :], *last_with.values()}
    if valid:
      preserved.add(max(valid, key=valid.get))  # the first of equal ones
    return [info.step in preserved for info in checkpoints]

  def _is_time(self, step: int) -> bool:
    waited = (time.monotonic() - self._last_time) / 60
    made, settings = step - self._last_step, self._settings
    return 0 < settings.minutes <= waited or 0 < settings.steps <= made

  def _write(self, state: Checkpoint) -> None:
    """Starts writing a checkpoint that is `_on_host`."""
    arrays, position = state.run_state, state.log_position
    manifest = state._asdict() | {
      "log_position": position and position._asdict(),
      "fingerprint": {**self._fingerprint, "arrays": checkpoint.shapes(arrays)},
      "environment": environment.current(),
    }
    del manifest["run_state"]
    with self._failures():
      self._manager.wait_until_finished()
      self._writing, self._manifests[state.step] = state.step, manifest
      self._check_folder()
      # On a full disk, Orbax would log tracebacks.
      needed = 1.1 * sum(x.nbytes for x in arrays.values()) + _OVERHEAD
      free = shutil.disk_usage(self._folder).free
      if free < needed:
        sizes = f"{needed / 1e6:.1f} MB are needed, {free / 1e6:.1f} are free"
        raise OSError(f"{os.strerror(errno.ENOSPC)}: {sizes}")
      items = ocp.args.Composite(state=ocp.args.PyTreeSave(arrays))
      self._manager.save(state.step, args=items, force=True)

  def _seal(self) -> None:
    """Adds the manifest, just before Orbax renames a written checkpoint."""
    self._check_folder()
    (path,) = self._folder.glob(_UNFINISHED)
    checkpoint.write_manifest(path, self._manifests[self._writing])

  def _check_folder(self) -> None:
    """Fails if the folder was deleted: Orbax would recreate parts of it."""
    opened = os.fstat(self._descriptor)
    if not os.path.samestat(opened, self._folder.stat()):
      raise FileNotFoundError("the folder was deleted under the run")

  @contextlib.contextmanager
  def _failures(self) -> Iterator[None]:
    """Reports a checkpoint that could not be written, and removes its parts."""
    try:
      yield
    # Orbax and TensorStore raise the latter two where a disk is full.
    except (OSError, ValueError, RuntimeError) as error:
      self._remove_unfinished()
      text = str(error).strip().splitlines()[0].rstrip(".")
      raise MachineError(
        "disk",
        str(self._folder / str(self._writing)),
        f"the checkpoint was not written: {text}",
      ) from error

  def _report_unraisable(self, unraisable: Any) -> None:
    """Drops the errors of TensorStore's pending writes after one failed."""
    if str(unraisable.exc_value) != "Event loop is closed":
      self._unraisablehook(unraisable)

  def _remove_unfinished(self) -> None:
    for path in self._folder.glob(_UNFINISHED):
      shutil.rmtree(path, ignore_errors=True)


def _on_host(state: Checkpoint) -> Checkpoint:
  arrays = jax.device_get(checkpoint.by_name(state.run_state))
  return state._replace(run_state=arrays)


def _is_no_orbax_traceback(record: Any) -> bool:
  """Drops errors that Orbax's threads log, since Orbax raises them too."""
  path = pathlib.Path(record.pathname)
  return not (record.exc_info and path.is_relative_to(_ORBAX))
