"""Checkpoints: the whole state of a run on disk, so that a kill costs little.

    checkpoints/<step>/state/         the arrays, as Orbax writes them
    checkpoints/<step>/manifest.json  step, seconds, ... and each file's hash

Every hash is verified before a file is parsed. If a checkpoint is damaged, the
one before it is used.
"""

import hashlib
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from alcurr.core import files
from alcurr.core.errors import MachineError, UserError
from alcurr.data import cache
from alcurr.training.exposure import Exposure
from alcurr.types import Array, PyTree, TrainState

_STATE = "state"
# Errors that damaged files raise.
_DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError)


class RunState(NamedTuple):
  """The arrays of a run: JAX's on the device, NumPy's on the host."""

  state: TrainState  # [S]
  exposure: Exposure


class Checkpoint(NamedTuple):
  """A run between two chunks."""

  step: int
  run_state: RunState
  seconds: float  # of training, over all trials
  valid: float | None  # mean selection metric of the trials, if evaluated
  active_trials: int  # trials that have not diverged
  log_position: files.LogPosition | None = None  # in the metrics file


def restore(
  folder: pathlib.Path,
  template: RunState,
  fingerprint: Mapping[str, Any],
  metrics: pathlib.Path | None = None,
) -> Checkpoint | None:
  """Returns the latest good checkpoint of a run; None if it has none.

  Damaged checkpoints after it are deleted, and the run writes them again.

  Args:
    folder: the run's checkpoints.
    template: arrays like the run's, or their shapes.
    fingerprint: JSON values that the saved and the resumed run must share.
    metrics: the run's metrics file, if any. A checkpoint is damaged if the
      file lacks rows that were written before it.

  Raises:
    UserError: the checkpoints belong to another run.
    MachineError: all are damaged; nothing is deleted.
  """
  damaged: dict[pathlib.Path, Exception] = {}  # the latest first
  for step in reversed(steps(folder)):
    path = folder / str(step)
    try:
      manifest, arrays = _read(path)
      position = manifest["log_position"]
      position = position and files.LogPosition(**position)
      if position and not files.starts_with(metrics, position):
        raise ValueError(f"{metrics.name} has lost rows")
    except _DAMAGED as error:
      damaged[path] = error
      logging.warning("%s is damaged: %s.", path, error)
      continue
    expected = {**fingerprint, "arrays": shapes(by_name(template))}
    _check_same_run(folder, manifest, expected)
    run_state = _from_names(template, arrays)
    for later in damaged:
      shutil.rmtree(later)
    if damaged:
      logging.warning("Resuming from %s instead.", path)
    saved = {k: manifest[k] for k in ("seconds", "valid", "active_trials")}
    return Checkpoint(step, run_state, log_position=position, **saved)
  if damaged:
    path, error = next(iter(damaged.items()))
    raise MachineError(
      "damaged",
      str(folder),
      f"no checkpoint is good (step {path.name}: {error}); restore one, or "
      "delete the run's folder to start it from step 0",
    )
  return None


def read_variables(
  folder: pathlib.Path, step: int, variables: tuple[PyTree, PyTree]
) -> tuple[PyTree, PyTree]:
  """Returns params and model_state of all trials at a step.

  Their shapes, [S], are those of `variables`.

  Raises:
    UserError: the checkpoint is missing, damaged, or of another model.
  """
  path = folder / str(step)
  try:
    manifest, arrays = _read(path)
  except _DAMAGED as error:
    raise UserError(
      "damaged",
      str(path),
      f"the checkpoint is damaged or missing ({error}); restore it, or delete "
      "the run's folder and rerun its experiment",
    ) from error
  template = RunState(TrainState((), (), *variables, (), ()), ())
  known = manifest["fingerprint"]["arrays"]
  if not shapes(by_name(template)).items() <= known.items():
    text = "its model is not the one that config.json has"
    raise UserError("mismatch", str(path), text)
  state = _from_names(template, arrays).state
  return state.params, state.model_state


def steps(folder: pathlib.Path) -> list[int]:
  """Returns the steps of the complete checkpoints, in order."""
  return sorted(int(p.name) for p in folder.glob("*") if p.name.isdecimal())


def write_manifest(path: pathlib.Path, manifest: Mapping[str, Any]) -> None:
  """Seals a checkpoint whose arrays are written."""
  sealed = {**manifest, "files": _hashes(path)}
  digest = cache.digest(sealed)
  files.write_json(path / cache.MANIFEST, {**sealed, "digest": digest})


def _read(path: pathlib.Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Returns the manifest and the arrays; raises _DAMAGED."""
  manifest = cache.read_manifest(path)
  if changed := manifest["files"].items() ^ _hashes(path).items():
    raise ValueError(f"{min(changed)[0]} was changed")
  with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as orbax:
    return manifest, orbax.restore((path / _STATE).absolute())


def _hashes(path: pathlib.Path) -> dict[str, str]:
  """Returns the hash of each file of the arrays, by name."""
  hashes = {}
  for content in sorted((path / _STATE).rglob("*")):
    if content.is_file():
      with content.open("rb") as file:
        digest = hashlib.file_digest(file, "blake2b")
      hashes[str(content.relative_to(path))] = digest.hexdigest()
  return hashes


def _check_same_run(
  folder: pathlib.Path, manifest: Mapping[str, Any], expected: Mapping[str, Any]
) -> None:
  """Refuses the checkpoints of another run; warns of another environment."""
  for name, value in manifest["fingerprint"].items():
    if expected.get(name) != value:
      raise UserError(
        "mismatch",
        str(folder),
        f"the checkpoints are of a run with other {name}: the data or the "
        "program has changed since; choose another --workdir",
      )
  now = files.environment()
  for name, before in manifest["environment"].items():
    if name != "date" and now.get(name) != before:
      logging.warning(
        f"The run was saved with {name} {before} and resumes with "
        f"{now.get(name)}: its results may differ in the last bits."
      )


def by_name(run_state: RunState) -> dict[str, Array | np.ndarray]:
  """Returns the leaves by name, without empty ones; keys as their data."""
  named = {}
  for path, leaf in jax.tree.leaves_with_path(run_state):
    if _is_key(leaf):
      is_array, data = isinstance(leaf, jax.Array), jax.random.key_data
      leaf = data(leaf) if is_array else jax.eval_shape(data, leaf)
    if leaf.size:  # Orbax takes no empty arrays
      named[_name(path)] = leaf
  return named


def shapes(arrays: Mapping[str, Any]) -> dict[str, str]:
  """Returns the type and shape of each array, such as "float32[2, 3]"."""
  return {name: f"{x.dtype}{list(x.shape)}" for name, x in arrays.items()}


def _name(path: tuple[Any, ...]) -> str:
  return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_key(leaf: Array) -> bool:
  return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _from_names(template: RunState, arrays: Mapping[str, Any]) -> RunState:
  """Inverts `by_name`: JAX's arrays are on the device again."""

  def restored(path, like):
    if not like.size:
      return jax.numpy.zeros(like.shape, like.dtype)
    array = arrays[_name(path)]
    if isinstance(like, np.ndarray):
      return array
    array = jax.device_put(array)
    return jax.random.wrap_key_data(array) if _is_key(like) else array

  return jax.tree.map_with_path(restored, template)
