"""Several processes of one run, each with some of its devices.

All compute the same; the first alone touches the experiment's folder, so only
it needs that folder. What it reads there, the others get from it.
"""

import contextlib
import io
import itertools
import json
import os
import pathlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from alcurr.core.errors import FaultError, MachineError, UserError
from alcurr.training import checkpoint, meshes, parallel
from alcurr.types import Array, PyTree, TrainState

OPTION = "--distributed"
# After which a process that does not answer counts as dead, and all others end.
HEARTBEAT_SECONDS = 60
# The most that one may be behind another.
PATIENCE_SECONDS = 3600
# Set by srun and mpirun, and not in the shell of an allocation.
_NUM_PROCESSES = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
_BY_HAND = ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_COORDINATOR = "JAX_COORDINATOR_ADDRESS"
_JSON = "json"  # the array of a shared value that is no array

_meetings = itertools.count()  # names each, the same in all processes

# (arrays by name, a value as JSON has it)
Shared = tuple[dict[str, np.ndarray], Any]


def join(asked: bool) -> None:
  """Joins the other processes, if there are any; call it before all of JAX.

  They are those that Slurm or Open MPI started together or, if `asked`, those
  of any cluster that JAX knows or that JAX_COORDINATOR_ADDRESS (host:port of
  the first), JAX_NUM_PROCESSES and JAX_PROCESS_ID describe.

  Raises:
    UserError: there is no such cluster.
    FaultError: the processes did not find one another in time.
  """
  sizes = [os.environ.get(name, "1") for name in _NUM_PROCESSES]
  if not asked and sizes == ["1", "1"]:
    return
  count, number = (
    int(text) if (text := os.environ.get(name, "")).isdecimal() else None
    for name in _BY_HAND
  )
  try:
    jax.distributed.initialize(
      num_processes=count,
      process_id=number,
      heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
    )
  except ValueError as error:
    names = ", ".join((_COORDINATOR, *_BY_HAND))
    text = f"no cluster was found ({error}); start it by srun, or set {names}"
    raise UserError("missing", OPTION, text) from error
  except RuntimeError as error:
    reason = str(error).splitlines()[0]
    raise FaultError("network", OPTION, reason) from error
  if not is_first():
    logging.set_verbosity(logging.WARNING)


@contextlib.contextmanager
def together() -> Iterator[None]:
  """Reports that another process ended, in the words of this one.

  Raises:
    MachineError: a transfer between processes failed.
  """
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    reason = str(error).splitlines()[0]
    if not jax.distributed.is_initialized() or "EXHAUSTED" in reason:
      raise
    text = f"another process ended, or cannot be reached ({reason})"
    raise MachineError("network", OPTION, text) from error


def leave(status: int) -> None:
  """Ends this process if there are others, and they with it.

  Otherwise it would wait for them to end too, and they for its next message.
  """
  if status and jax.distributed.is_initialized():
    os._exit(status)


def are_many() -> bool:
  """Returns whether there are other processes."""
  return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
  """Returns whether this process is the one that writes."""
  return not jax.distributed.is_initialized() or jax.process_index() == 0


def _meet() -> None:
  """Waits for the others, which may be minutes behind.

  They load data and compile. A transfer would wait for half a minute only.
  """
  barrier = ocp.multihost.get_barrier_sync_fn()
  barrier(key=f"alcurr {next(_meetings)}", timeout_ms=1000 * PATIENCE_SECONDS)


def from_first(read: Callable[[], Shared | None]) -> Shared | None:
  """Returns what the first process reads; the others do not call `read`."""
  if not are_many():
    return read()
  _meet()
  packed = b""
  if is_first() and (shared := read()):
    arrays, value = shared
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **{**arrays, _JSON: text})
    packed = buffer.getvalue()
  size = np.array(divmod(len(packed), 2**30), np.int32)
  high, low = np.asarray(multihost_utils.broadcast_one_to_all(size)).tolist()
  if not (length := high * 2**30 + low):
    return None
  own = (
    np.frombuffer(packed, np.uint8) if packed else np.zeros(length, np.uint8)
  )
  packed = np.asarray(multihost_utils.broadcast_one_to_all(own)).tobytes()
  with np.load(io.BytesIO(packed), allow_pickle=False) as file:
    arrays = {name: file[name] for name in file.files}
  return arrays, json.loads(arrays.pop(_JSON).tobytes())


def restore(
  folder: pathlib.Path,
  template: checkpoint.RunState,
  fingerprint: Mapping[str, Any],
  metrics: pathlib.Path | None,
) -> checkpoint.Checkpoint | None:
  """Calls `checkpoint.restore` in the first process, for all."""
  if not are_many():
    return checkpoint.restore(folder, template, fingerprint, metrics)
  found: checkpoint.Checkpoint | None = None

  def read() -> Shared | None:
    nonlocal found
    found = checkpoint.restore(folder, template, fingerprint, metrics)
    if found is None:
      return None
    arrays = jax.device_get(checkpoint.by_name(found.run_state))
    head = found.step, found.seconds, found.valid, found.active_trials
    return arrays, head

  shared = from_first(read)
  if shared is None or found:
    return found
  arrays, (step, seconds, valid, active) = shared
  kinds = checkpoint.by_name(template)
  # Files of arrays have no bfloat16.
  arrays = {name: x.view(kinds[name].dtype) for name, x in arrays.items()}
  state = checkpoint.from_names(template, arrays)
  return checkpoint.Checkpoint(step, state, seconds, valid, active)


def check_same(values: Mapping[str, str]) -> None:
  """Checks that the processes have the same texts, by name.

  Raises:
    FaultError: at a process, with the name of what differs.
  """
  if not are_many():
    return
  _meet()
  # Mistakes are looked for, not forgeries.
  own = np.array([zlib.crc32(x.encode()) for x in values.values()], np.uint32)
  rows = np.asarray(multihost_utils.process_allgather(own))
  for number, row in enumerate(rows):
    for name, here, there in zip(values, rows[0], row, strict=True):
      if here != there:
        text = f"its {name} is not that of process 0"
        raise FaultError("mismatch", f"process {number}", text)


class _Report(NamedTuple):
  """The report of each device after a chunk, uint32."""

  signal: Array  # that its process received; 0 for none
  save: Array  # whether the next chunk's state is to be saved
  key: Array  # hashes of the state of its trials
  step: Array
  sampler_state: Array


class Exchange:
  """Makes the processes of a run decide the same after each chunk.

  What they say travels with the chunk's metrics, so nobody waits for it. A
  decision is therefore one chunk old.

  Attributes:
    save: whether the state after the chunk in flight is to be saved.
  """

  def __init__(self, mesh: Mesh, received: Callable[[], int | None]):
    self._mesh, self._received = mesh, received
    self._axes = PartitionSpec(mesh.axis_names)
    report = jax.shard_map(
      _report,
      mesh=mesh,
      in_specs=(parallel.BY_TRIAL, self._axes),
      out_specs=self._axes,
      check_vma=False,
    )
    whole = NamedSharding(mesh, PartitionSpec())
    self._program = jax.jit(report, out_shardings=whole)
    self._signal, self.save = 0, False

  def stop(self) -> int:
    """Returns a signal that any process received; 0 for none."""
    return self._signal

  def send(self, state: TrainState, save: bool) -> Array:
    """Submits the report on a state, before it is donated.

    `save` is the first process's wish.
    """
    said = np.array([[self._received() or 0, save]], np.uint32)
    sharding = NamedSharding(self._mesh, self._axes)
    shape = (self._mesh.size, 2)
    said = jax.make_array_from_callback(shape, sharding, lambda _: said)
    return self._program((state.key, state.step, state.sampler_state), said)

  def receive(self, report: Array) -> None:
    """Waits for a report, and decides by it.

    Raises:
      FaultError: two processes have different states of the same trials.
    """
    devices = self._mesh.devices.reshape(self._mesh.shape[meshes.TRIAL], -1)
    rows = np.asarray(report).reshape(*devices.shape, -1)
    said = _Report(*np.moveaxis(rows, -1, 0))
    self._signal = int(said.signal.max())
    first = [device.process_index == 0 for device in devices.ravel()]
    self.save = bool(said.save.ravel()[first].any())
    for name in ("key", "step", "sampler_state"):
      values = getattr(said, name)
      if (other := np.argwhere(values != values[:, :1])).size:
        trial, place = other[0]
        here, there = devices[trial, 0], devices[trial, place]
        text = f"its {name} is not that of process {here.process_index}"
        at = f"process {there.process_index}"
        raise FaultError("mismatch", at, text)


def _report(state: tuple[PyTree, ...], said: Array) -> Array:
  """Returns a device's report, [1, 5] uint32."""
  hashes = [_hash(part) for part in state]
  return jnp.concatenate([said, jnp.stack(hashes)[None]], axis=1)


def _hash(tree: PyTree) -> Array:
  """Returns a hash of arrays, [] uint32: sums that wrap around."""
  total = jnp.uint32(0)
  for leaf in jax.tree.leaves(tree):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    if jnp.issubdtype(leaf.dtype, jnp.inexact):
      bits = jnp.dtype(f"uint{8 * leaf.dtype.itemsize}")
      leaf = jax.lax.bitcast_convert_type(leaf, bits)
    flat = leaf.ravel().astype(jnp.uint32)
    odd = 2 * jnp.arange(flat.size, dtype=jnp.uint32) + 1
    total = total * jnp.uint32(31) + (flat * odd).sum(dtype=jnp.uint32)
  return total
