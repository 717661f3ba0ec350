"""A run's whole state on disk, again and again, so that a kill costs little.

    checkpoints/<step>/state/         the arrays, as Orbax writes them
    checkpoints/<step>/manifest.json  step, seconds, ... and each file's hash

A checkpoint is made under another name and renamed when whole, and checked
against its manifest before any of it is believed: one that is damaged is
passed over for the one before.
"""

import contextlib
import errno
import hashlib
import logging
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging

from alcurr.core import files
from alcurr.core.errors import MachineError, UserError
from alcurr.data import cache
from alcurr.training.exposure import Exposure
from alcurr.types import Array, PyTree, TrainState

_MANIFEST = "manifest.json"
# What Orbax and the manifest write beside the arrays, measured as below 100 kB.
_OVERHEAD = 256 * 1024  # bytes
_ORBAX = pathlib.Path(ocp.__file__).parent


class RunState(NamedTuple):
  """The arrays of a run: the device's, and NumPy's of the host."""

  state: TrainState  # [S]
  exposure: Exposure


class Checkpoint(NamedTuple):
  """Where a run stands between two chunks."""

  step: int
  run_state: RunState
  seconds: float  # of training, all trials
  valid: float | None  # mean top-1 of the trials, where it was evaluated
  active_trials: int  # trials that have not diverged
  log_position: files.LogPosition | None = None  # in the run's file of rows


def _is_key(leaf: Array) -> bool:
  return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def by_name(kept: RunState) -> dict[str, Array | np.ndarray]:
  """The leaves by name; keys as their data, and none that is empty."""
  named = {}
  for path, leaf in jax.tree.leaves_with_path(kept):
    if leaf.size:  # Orbax takes no others, and they say nothing
      name = jax.tree_util.keystr(path, simple=True, separator="/")
      named[name] = jax.random.key_data(leaf) if _is_key(leaf) else leaf
  return named


def _kept(template: RunState, arrays: Mapping[str, np.ndarray]) -> RunState:
  """The reverse of `by_name`; what is the device's goes there."""

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
  template: RunState,
  facts: Mapping[str, Any],
  rows: pathlib.Path | None = None,
) -> Checkpoint | None:
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
      mark = manifest["log_position"] and files.LogPosition(
        **manifest["log_position"]
      )
      if mark and not files.holds(rows, mark):
        raise ValueError(f"{rows.name} has lost rows before it")
    except (OSError, ValueError) as error:
      damaged[step] = error
      absl_logging.warning("%s is damaged: %s.", path, error)
      continue
    _check_facts(folder, manifest, template, facts)
    arrays = _read(path / "state")
    for later in damaged:
      shutil.rmtree(folder / str(later))
    if damaged:
      absl_logging.warning("The run goes on from %s instead.", path)
    return Checkpoint(
      step,
      _kept(template, arrays),
      log_position=mark,
      **{
        name: manifest[name] for name in ("seconds", "valid", "active_trials")
      },
    )
  if damaged:
    raise MachineError(
      f"{folder}: no checkpoint is good ({max(damaged)}: "
      f"{damaged[max(damaged)]}); mend one, or delete {folder} to begin this "
      "run anew."
    )
  return None


def read_variables(
  folder: pathlib.Path, step: int, variables: tuple[PyTree, PyTree]
) -> tuple[PyTree, PyTree]:
  """What the model of a run was at a step, of all trials; touches nothing.

  Args:
    folder: of the checkpoints.
    step: of the one to read.
    variables: shapes like those of params and model_state, [S].

  Raises:
    UserError: there is no such checkpoint that is good, or it is of another
      model.
  """
  path = folder / str(step)
  try:
    manifest = _checked_manifest(path)
    shapes = manifest["facts"]["arrays"]
    arrays = _read(path / "state")
  except (OSError, ValueError, KeyError, MachineError) as error:
    raise UserError(
      f"{path} is damaged or gone ({error}); put it back, or delete the run's "
      "folder and run its experiment again."
    ) from error
  template = RunState(TrainState((), (), *variables, (), ()), ())
  if not _shapes(by_name(template)).items() <= shapes.items():
    raise UserError(
      f"{path} is of another model than config.json says; name a run whose "
      "files belong together."
    )
  state = _kept(template, arrays).state
  return state.params, state.model_state


def _manifest(path: pathlib.Path) -> dict[str, Any]:
  """A checkpoint's manifest.

  Raises:
    OSError, ValueError: it was harmed.
  """
  manifest = files.read_json(path / _MANIFEST)
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


def read_manifests(folder: pathlib.Path) -> dict[int, dict[str, Any]]:
  """What the manifest of each step says, where it can be believed."""
  said = {}
  for step in _steps(folder):
    try:
      said[step] = _manifest(folder / str(step))
    except (OSError, ValueError):
      said[step] = {}  # harmed, and not the one that the run goes on from
  return said


def _hash(path: pathlib.Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "blake2b").hexdigest()


def _files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _check_facts(
  folder: pathlib.Path,
  manifest: Mapping[str, Any],
  template: RunState,
  facts: Mapping[str, Any],
) -> None:
  """Refuses the checkpoints of another run."""
  state = jax.eval_shape(
    lambda state: by_name(RunState(state, ())), template.state
  )
  tally = by_name(template._replace(state=()))
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
      absl_logging.warning(
        "%s was %s when the run was saved and is %s now: it may go on with "
        "other bits than it would have.",
        *(name, before, value),
      )


def _environment() -> dict[str, str]:
  now = files.environment()
  return {name: now[name] for name in now if name != "date"}


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as orbax:
      return orbax.restore(path.absolute())
  except (ValueError, KeyError) as error:  # as from another version of it
    raise MachineError(f"{path}: Orbax cannot read it: {error}") from error


def write(
  folder: pathlib.Path, saved: Checkpoint, facts: Mapping[str, Any]
) -> None:
  """Writes one checkpoint.

  Args:
    folder: of the checkpoints.
    saved: what; `kept` as `by_name` has it.
    facts: see `restore`.

  Raises:
    MachineError: it could not be written, and nothing is left of it.
  """
  path = folder / str(saved.step)
  temporary = _unfinished(path)
  try:
    _write(temporary, saved, facts)
    files.rename(temporary, path)
  # Orbax and TensorStore raise the latter two where a disk is full.
  except (OSError, ValueError, RuntimeError) as error:
    shutil.rmtree(temporary, ignore_errors=True)
    text = str(error).strip().splitlines()[0]
    raise MachineError(
      f"{path}: the checkpoint was not written: {text.rstrip('.')}; mend "
      "that and run the same command again to go on."
    ) from error


@contextlib.contextmanager
def _without_orbax_tracebacks() -> Iterator[None]:
  """Leaves out what threads of Orbax log of errors that it raises as well."""

  def others(record: logging.LogRecord) -> bool:
    place = pathlib.Path(record.pathname)
    return not (record.exc_info and place.is_relative_to(_ORBAX))

  logger = absl_logging.get_absl_logger()
  logger.addFilter(others)
  try:
    yield
  finally:
    logger.removeFilter(others)


def _write(
  folder: pathlib.Path, saved: Checkpoint, facts: Mapping[str, Any]
) -> None:
  host = jax.device_get(saved.run_state)
  _check_room(folder.parent, sum(array.nbytes for array in host.values()))
  folder.mkdir()  # and not its parents, which may have been deleted
  with (
    _staying(folder),
    _without_orbax_tracebacks(),
    ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as orbax,
  ):
    state = (folder / "state").absolute()
    orbax.save(state, args=ocp.args.PyTreeSave(host))
  manifest = {
    "step": saved.step,
    "seconds": saved.seconds,
    "valid": saved.valid,
    "active_trials": saved.active_trials,
    "log_position": saved.log_position and saved.log_position._asdict(),
    "facts": {**facts, "arrays": _shapes(host)},
    "environment": _environment(),
    "files": {str(p.relative_to(folder)): _hash(p) for p in _files(folder)},
  }
  sealed = {**manifest, "digest": cache.digest(manifest)}
  files.write_json(folder / _MANIFEST, sealed)


def _check_room(folder: pathlib.Path, num_bytes: int) -> None:
  """Refuses a disk with no room for arrays: Orbax would leave traces of it."""
  needed = int(1.1 * num_bytes) + _OVERHEAD
  free = shutil.disk_usage(folder).free
  if free < needed:
    raise OSError(
      f"{os.strerror(errno.ENOSPC)}: {needed / 1e6:.1f} MB are needed, "
      f"{free / 1e6:.1f} MB free"
    )


@contextlib.contextmanager
def _staying(folder: pathlib.Path) -> Iterator[None]:
  """Fails if a folder does not stay: Orbax makes one anew that was deleted."""
  before = os.open(folder, os.O_RDONLY)
  try:
    yield
    if not os.path.samestat(os.fstat(before), folder.stat()):
      raise FileNotFoundError("it was deleted under the run")
  finally:
    os.close(before)


def _unfinished(path: pathlib.Path) -> pathlib.Path:
  """A name that is taken for no checkpoint, beside one's own."""
  return path.with_name(f".{path.name}")


def remove(folder: pathlib.Path, step: int) -> None:
  """Removes a checkpoint; it is none any more before it is half gone."""
  path = folder / str(step)
  path.rename(_unfinished(path))
  shutil.rmtree(_unfinished(path))


def remove_unfinished(folder: pathlib.Path) -> None:
  """Removes what a killed process left half written or half removed."""
  for path in folder.glob(".*"):
    if path.name[1:].isdecimal():
      shutil.rmtree(path)
