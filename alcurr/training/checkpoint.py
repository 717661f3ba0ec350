"""Checkpoints: the whole state of a run on disk, so that a kill costs little.

    checkpoints/<step>/state/         the arrays, as Orbax writes them
    checkpoints/<step>/manifest.json  step, seconds, ... and each file's hash

Every hash is verified before a file is parsed. If a checkpoint is damaged, the
one before it is used.
"""

import contextlib
import hashlib
import json
import math
import pathlib
import re
import shutil
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from alcurr.core import environment, files
from alcurr.core.errors import MachineError, UserError
from alcurr.data import cache
from alcurr.training.exposure import Exposure, active_trials
from alcurr.types import Array, PyTree, TrainState

ALONE = ocp.options.MultiprocessingOptions(active_processes={0})  # the first
_STATE, _TRAINED = "state", "state/step"  # the latter: the trials' steps
_STEP = re.compile(r"0|[1-9][0-9]{0,15}")
_FIELDS = {
  "step": int,
  "seconds": float,
  "valid": float | None,
  "active_trials": int,
  "log_position": dict | None,
  "fingerprint": dict,
  "environment": dict,
  "files": dict,
}


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
    UserError: the checkpoints belong to another run or environment.
    MachineError: all are damaged; nothing is deleted.
  """
  damaged: dict[pathlib.Path, Exception] = {}  # the latest first
  expected = shapes(by_name(template))
  for step in reversed(steps(folder)):
    path = folder / str(step)
    try:
      manifest = read_manifest(path)
      now = {**fingerprint, "arrays": expected}
      check_same(folder, manifest["fingerprint"], now)
      check_same(folder, manifest["environment"], environment.current())
      position = manifest["log_position"]
      position = position and files.LogPosition(**position)
      _check_rows(metrics, position, step)
      run_state = from_names(template, _read_arrays(path, manifest, expected))
      active = len(active_trials(run_state.exposure))
      if active != manifest["active_trials"]:
        raise ValueError(f"it has {active} active trials")
    except UserError:
      raise
    except cache.UNREADABLE as error:
      damaged[path] = error
      logging.warning("%s is damaged: %s.", path, error)
      continue
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


def _check_rows(
  metrics: pathlib.Path | None, position: files.LogPosition | None, step: int
) -> None:
  """Raises UNREADABLE unless the last row before the position is the step's."""
  if (metrics is None) != (position is None):
    raise ValueError("it does not say where its rows end")
  if metrics:
    if not files.starts_with(metrics, position):
      raise ValueError(f"{metrics.name} has lost rows")
    before = metrics.read_bytes()[: position.bytes]
    if json.loads(before.splitlines()[-1])["step"] != step:
      raise ValueError(f"its last row in {metrics.name} is of another step")


def read_variables(
  folder: pathlib.Path, step: int, variables: tuple[PyTree, PyTree]
) -> tuple[PyTree, PyTree]:
  """Returns params and model_state of all trials at a step.

  Their shapes, [S], are those of `variables`. Nothing else is read.

  Raises:
    UserError: the checkpoint is missing, damaged, or of another model.
  """
  path = folder / str(step)
  template = RunState(TrainState((), (), *variables, (), ()), ())
  expected = shapes(by_name(template))
  try:
    manifest = read_manifest(path)
    known = manifest["fingerprint"]["arrays"]
    if not expected.items() <= known.items():
      text = "its model is not the one that config.json has"
      raise UserError("mismatch", str(path), text)
    arrays = _read_arrays(path, manifest, expected)
  except UserError:
    raise
  except cache.UNREADABLE as error:
    raise UserError(
      "damaged",
      str(path),
      f"the checkpoint is damaged or missing ({error}); restore it, or delete "
      "the run's folder and rerun its experiment",
    ) from error
  state = from_names(template, arrays).state
  return state.params, state.model_state


def check_same(
  place: pathlib.Path, saved: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
  """Raises UserError if a fingerprint or an environment is not the saved."""
  if text := environment.differences(saved, now):
    raise UserError(
      "mismatch",
      str(place),
      f"resuming would change its numbers: {text}; rerun with the same as "
      "before, or choose another folder",
    )


def steps(folder: pathlib.Path) -> list[int]:
  """Returns the steps of the complete checkpoints, in order."""
  return sorted(
    int(p.name)
    for p in folder.glob("*")
    if _STEP.fullmatch(p.name) and p.is_dir() and not p.is_symlink()
  )


def read_manifest(path: pathlib.Path) -> dict[str, Any]:
  """Returns the manifest of a checkpoint; raises UNREADABLE."""
  manifest = cache.read_manifest(path)
  for name, kind in _FIELDS.items():
    if not isinstance(manifest.get(name), kind):
      raise ValueError(f"its manifest has no valid {name}")
  if not 0 <= manifest["seconds"] < math.inf:
    raise ValueError("its seconds are not a duration")
  if str(manifest["step"]) != path.name:
    raise ValueError(f"it is of step {manifest['step']}")
  return manifest


def latest_manifest(folder: pathlib.Path) -> dict[str, Any] | None:
  """Returns the manifest of the latest checkpoint that has a good one."""
  for step in reversed(steps(folder)):
    with contextlib.suppress(*cache.UNREADABLE):
      return read_manifest(folder / str(step))
  return None


def write_manifest(path: pathlib.Path, manifest: Mapping[str, Any]) -> None:
  """Seals a checkpoint whose arrays are written."""
  sealed = {**manifest, "files": _hashes(path)}
  digest = cache.digest(sealed)
  files.write_json(path / cache.MANIFEST, {**sealed, "digest": digest})


def _read_arrays(
  path: pathlib.Path, manifest: Mapping[str, Any], expected: Mapping[str, str]
) -> dict[str, np.ndarray]:
  """Returns the arrays of some `shapes` by name; raises UNREADABLE."""
  if changed := manifest["files"].items() ^ _hashes(path).items():
    raise ValueError(f"{min(changed)[0]} was changed")
  folder = (path / _STATE).absolute()
  handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=ALONE)
  with ocp.Checkpointer(handler, multiprocessing_options=ALONE) as orbax:
    # Hashes do not vouch for a small file that claims to be a large array.
    claimed = handler.metadata(folder)
    for name, text in expected.items():
      array = claimed[name]
      got, chunk = shapes({name: array})[name], array.storage.chunk_shape
      if got != text or tuple(chunk) != tuple(array.shape):
        raise ValueError(f"{name} is {got} in chunks of {list(chunk)}")
    arrays = orbax.restore(
      folder,
      args=ocp.args.PyTreeRestore(
        item=dict.fromkeys(expected, 0), partial_restore=True
      ),
    )
  if (step := arrays.get(_TRAINED)) is not None and (
    step != manifest["step"]
  ).any():
    raise ValueError(f"its arrays are of step {step.tolist()}")
  return arrays


def _hashes(path: pathlib.Path) -> dict[str, str]:
  """Returns the hash of each file of the arrays, by name."""
  hashes = {}
  for content in sorted((path / _STATE).rglob("*")):
    if content.is_symlink() or not (content.is_file() or content.is_dir()):
      raise ValueError(f"{content.name} is not a file")
    if content.is_file():
      with content.open("rb") as file:
        digest = hashlib.file_digest(file, "blake2b")
      hashes[str(content.relative_to(path))] = digest.hexdigest()
  return hashes


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


def from_names(template: RunState, arrays: Mapping[str, Any]) -> RunState:
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
