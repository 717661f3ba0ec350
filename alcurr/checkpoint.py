"""A run's whole state on disk, again and again, so that a kill costs little.

    checkpoints/<step>/state/         the arrays, as Orbax writes them
    checkpoints/<step>/manifest.json  step, seconds, ... and each file's hash

A checkpoint is made under another name and renamed when whole, and checked
against its manifest before any of it is believed: one that is damaged is
passed over for the one before.
"""

import concurrent.futures
import hashlib
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from ml_collections import ConfigDict

from alcurr import writer
from alcurr.data import cache
from alcurr.errors import MachineError, UserError
from alcurr.tally import Tally
from alcurr.types import Array, TrainState

_MANIFEST = "manifest.json"


class Kept(NamedTuple):
  """The arrays of a run: the device's, and NumPy's of the host."""

  state: TrainState  # [S]
  tally: Tally


class Saved(NamedTuple):
  """Where a run stands between two chunks."""

  step: int
  kept: Kept
  seconds: float  # of training, all trials
  valid: float | None  # mean top-1 of the trials, where it was evaluated
  going: int  # trials that have not gone wrong
  mark: writer.Mark | None = None  # in the run's file of rows


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


def _is_key(leaf: Array) -> bool:
  return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _arrays(kept: Kept) -> dict[str, Array | np.ndarray]:
  """The leaves by name; keys as their data, and none that is empty."""
  named = {}
  for path, leaf in jax.tree.leaves_with_path(kept):
    if leaf.size:  # Orbax takes no others, and they say nothing
      name = jax.tree_util.keystr(path, simple=True, separator="/")
      named[name] = jax.random.key_data(leaf) if _is_key(leaf) else leaf
  return named


def _kept(template: Kept, arrays: Mapping[str, np.ndarray]) -> Kept:
  """The reverse of `_arrays`; what is the device's goes there."""

  def leaf(path, like):
    if not like.size:
      return jax.numpy.zeros(like.shape, like.dtype)
    array = arrays[jax.tree_util.keystr(path, simple=True, separator="/")]
    if isinstance(like, np.ndarray):
      return array
    array = jax.device_put(array)
    return jax.random.wrap_key_data(array) if _is_key(like) else array

  return jax.tree.map_with_path(leaf, template)


def _shapes(arrays: Mapping[str, Any]) -> dict[str, str]:
  return {name: f"{x.dtype}{list(x.shape)}" for name, x in arrays.items()}


def _steps(folder: pathlib.Path) -> list[int]:
  """Of the checkpoints that are whole by their names."""
  if not folder.exists():
    return []
  return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal())


def restore(
  folder: pathlib.Path,
  template: Kept,
  facts: Mapping[str, Any],
  rows: pathlib.Path | None = None,
) -> Saved | None:
  """The newest good checkpoint of a run; None where there are none at all.

  Those after it are removed, as the run makes them again.

  Args:
    folder: of the checkpoints.
    template: arrays like the run's, or the shapes of the device's.
    facts: what the run must have in common with the one that was saved, of
      JSON's types.
    rows: the run's file of rows, if it has one: a checkpoint is good if the
      rows before it are still there.

  Raises:
    UserError: they are another run's.
    MachineError: none is good; nothing was touched.
  """
  damaged = {}
  for step in reversed(_steps(folder)):
    path = folder / str(step)
    try:
      manifest = _checked_manifest(path)
      mark = manifest["mark"] and writer.Mark(**manifest["mark"])
      if mark and not writer.holds(rows, mark):
        raise ValueError(f"{rows.name} has lost rows before it")
    except (OSError, ValueError) as error:
      damaged[step] = error
      logging.warning("%s is damaged: %s.", path, error)
      continue
    _check_facts(folder, manifest, template, facts)
    arrays = _read(path / "state")
    for later in damaged:
      shutil.rmtree(folder / str(later))
    if damaged:
      logging.warning("The run goes on from %s instead.", path)
    return Saved(
      step,
      _kept(template, arrays),
      mark=mark,
      **{name: manifest[name] for name in ("seconds", "valid", "going")},
    )
  if damaged:
    raise MachineError(
      f"{folder}: no checkpoint is good ({max(damaged)}: "
      f"{damaged[max(damaged)]}); mend one, or delete {folder} to begin this "
      "run anew."
    )
  return None


def _manifest(path: pathlib.Path) -> dict[str, Any]:
  """A checkpoint's manifest.

  Raises:
    OSError, ValueError: it was harmed.
  """
  manifest = writer.read_json(path / _MANIFEST)
  if not isinstance(manifest, dict):
    raise ValueError(f"{_MANIFEST} was changed")
  sealed = manifest.pop("digest", None)
  if sealed != cache.digest(manifest):
    raise ValueError(f"{_MANIFEST} was changed")
  return manifest


def _checked_manifest(path: pathlib.Path) -> dict[str, Any]:
  """A checkpoint's manifest, if every file is what it says.

  Raises:
    OSError, ValueError: it is not.
  """
  manifest = _manifest(path)
  for name, there in manifest["files"].items():
    if _hash(path / name) != there:
      raise ValueError(f"{name} was changed")
  return manifest


def _told(path: pathlib.Path) -> dict[str, Any]:
  """What a checkpoint's manifest says, where it can be believed."""
  try:
    return _manifest(path)
  except (OSError, ValueError):
    return {}  # harmed, and not the one that the run goes on from


def _hash(path: pathlib.Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "blake2b").hexdigest()


def _files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _check_facts(
  folder: pathlib.Path,
  manifest: Mapping[str, Any],
  template: Kept,
  facts: Mapping[str, Any],
) -> None:
  """Refuses the checkpoints of another run."""
  state = jax.eval_shape(lambda state: _arrays(Kept(state, ())), template.state)
  tally = _arrays(template._replace(state=()))
  here = {**facts, "arrays": _shapes(state | tally)}
  for name, value in manifest["facts"].items():
    if here.get(name) != value:
      raise UserError(
        f"{folder} is of a run with other {name}: the data or the program has "
        "changed since; choose another --workdir."
      )
  for name, value in _environment().items():
    before = manifest["environment"].get(name)
    if before != value:
      logging.warning(
        "%s was %s when the run was saved and is %s now: it may go on with "
        "other bits than it would have.",
        *(name, before, value),
      )


def _environment() -> dict[str, str]:
  now = writer.environment()
  return {name: now[name] for name in now if name != "date"}


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as orbax:
      return orbax.restore(path.absolute())
  except (ValueError, KeyError) as error:  # as from another version of it
    raise MachineError(f"{path}: Orbax cannot read it: {error}") from error


class Checkpoints:
  """Writes a run's checkpoints in a thread of its own; a context manager.

  Only on leaving the context is it sure that they are on the disk.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    settings: ConfigDict,
    facts: Mapping[str, Any],
    mark: Callable[[], writer.Mark | None] = lambda: None,
  ):
    """Of a run that goes on from the newest of the folder, or begins.

    Args:
      folder: made if need be; what a killed process left half written there
        is removed.
      settings: `config.checkpoint`.
      facts: see `restore`.
      mark: the place in the run's file of rows, asked for at each checkpoint.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(".*"):
      if path.name[1:].isdecimal():
        shutil.rmtree(path)
    self._folder, self._settings = folder, settings
    self._facts, self._mark = facts, mark
    told = {step: _told(folder / str(step)) for step in _steps(folder)}
    self._valid = {step: m.get("valid") for step, m in told.items()}
    self._going = {step: m.get("going") for step, m in told.items()}
    self._last_step = max(self._valid, default=0)
    self._last_time = time.monotonic()
    self._best: Saved | None = None  # not yet written
    self._thread = concurrent.futures.ThreadPoolExecutor(1, "checkpoints")
    self._writing: concurrent.futures.Future | None = None

  def __enter__(self) -> "Checkpoints":
    return self

  def __exit__(self, kind, error, trace) -> None:
    self._thread.shutdown()
    if error is None:
      self._wait()

  def due(self, step: int, evaluated: bool) -> bool:
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
    kept: Kept,
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
      valid: mean top-1 of the trials, or None.
      going: trials that have not gone wrong, one at least.
      last: whether it is written whatever the time.
    """
    saved = Saved(step, kept, seconds, valid, going, self._mark())
    known = [v for v in self._valid.values() if v is not None]
    if self._best:
      known.append(self._best.valid)
    if valid is not None and valid > max(known, default=-1.0):
      # Written with the next one: a run that is killed before that comes by
      # here again.
      self._best = saved._replace(kept=jax.device_get(_arrays(kept)))
    if step == self._last_step or not (last or self._is_time(step)):
      return
    self._wait()
    todo = [saved._replace(kept=_arrays(kept))]
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

  def _write_all(self, todo: list[Saved]) -> None:
    while todo:
      saved = todo.pop(0)
      path = self._folder / str(saved.step)
      temporary = path.with_name(f".{saved.step}")
      try:
        self._write(saved, temporary)
        writer.rename(temporary, path)
        self._valid[saved.step] = saved.valid
        self._going[saved.step] = saved.going
        self._remove_old()
      # Orbax and TensorStore raise the latter two where a disk is full.
      except (OSError, ValueError, RuntimeError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        text = str(error).strip().splitlines()[0]
        raise MachineError(
          f"{path}: the checkpoint was not written: {text.rstrip('.')}; mend "
          "that and run the same command again to go on."
        ) from error

  def _write(self, saved: Saved, folder: pathlib.Path) -> None:
    folder.mkdir()  # and not its parents, which may have been deleted
    arrays = jax.device_get(saved.kept)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as orbax:
      state = (folder / "state").absolute()
      orbax.save(state, args=ocp.args.PyTreeSave(arrays))
    manifest = {
      "step": saved.step,
      "seconds": saved.seconds,
      "valid": saved.valid,
      "going": saved.going,
      "mark": saved.mark and saved.mark._asdict(),
      "facts": {**self._facts, "arrays": _shapes(arrays)},
      "environment": _environment(),
      "files": {str(p.relative_to(folder)): _hash(p) for p in _files(folder)},
    }
    sealed = {**manifest, "digest": cache.digest(manifest)}
    writer.write_json(folder / _MANIFEST, sealed)

  def _remove_old(self) -> None:
    """All but the last few, the best, of equals the first, and the last one
    before a trial went wrong."""
    last = sorted(self._valid)[-self._settings.keep :]
    scored = {s: v for s, v in self._valid.items() if v is not None}
    best = max(sorted(scored), key=scored.get, default=None)
    before_wrong = {going: step for step, going in sorted(self._going.items())}
    for step in self._valid.keys() - {*last, best, *before_wrong.values()}:
      # Under a name that is taken for no checkpoint before it is half gone.
      gone = self._folder / f".{step}"
      (self._folder / str(step)).rename(gone)
      shutil.rmtree(gone)
      del self._valid[step], self._going[step]
