"""Estimates the device memory that a run needs, and reads how much is free.

    pool + prefetched chunks + state x trials x copies + activations

The pools stay on the device for the whole experiment. The state of all trials
is donated from chunk to chunk, so it counts once, plus copies for checkpoints.
With many devices, it is what each of them needs: all pools, the states of its
own trials, and its part of the batches.
"""

import contextlib
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from alcurr.training import exposure, meshes, prefetch
from alcurr.training.run import CompiledRun
from alcurr.types import Pool, PyTree

# The share of free memory to reserve for gaps between buffers, the workspace of
# kernels and, on a CPU, the host's own work.
MARGIN = 0.05

_PROC = pathlib.Path("/proc")
_CGROUPS = pathlib.Path("/sys/fs/cgroup")
# The files of limit and usage, by controllers and folder. Version 2 is "".
_CGROUP_FILES = {
  "": ("memory.max", "memory.current"),
  "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes"),
}


class Estimate(NamedTuple):
  """The memory that a run needs of each device, in bytes."""

  pool: int  # all pools of the experiment
  state: int  # of one trial
  trials: int  # on the device
  # What programs need besides their arguments; None if it is not reported.
  activations: int | None
  copies: int = 0  # of all trials' states, for checkpoints
  exposure: int = 0  # of one trial, if the device is the host
  prefetched: int = 0  # chunks of examples fetched ahead from the host

  @property
  def total(self) -> int:
    """The sum of all that is known."""
    states = (self.state + self.exposure) * self.trials * (1 + self.copies)
    return self.pool + self.prefetched + states + (self.activations or 0)

  def describe(self) -> str:
    """Returns the total and its parts as text."""
    text = describe_bytes
    return (
      f"{text(self.total)} (pool {text(self.pool)}, "
      f"prefetched {text(self.prefetched)}, "
      f"state {text(self.state + self.exposure)} x {self.trials} trials x "
      f"{1 + self.copies} copies, activations {text(self.activations)})"
    )


def estimate(
  compiled: CompiledRun,
  pools: Mapping[str, Pool],
  copies: int = 0,
  mesh: Mesh | None = None,
) -> Estimate:
  """Returns the memory that a compiled run needs of each device.

  The pools are all of the experiment, as arrays or shapes, and a pool with two
  names counts once; the copies are of the state, for checkpoints.
  """
  trials = compiled.state.step.shape[0]
  axes = dict(mesh.shape) if mesh else {meshes.TRIAL: 1, meshes.DATA: 1}
  # No run trains on more than the largest pool. Other exposure is small.
  largest = max((p.label.shape[0] for p in pools.values()), default=0)
  counts = np.dtype(exposure.COUNT).itemsize * largest
  ahead = compiled.chunks.prefetch
  fetched = num_bytes(ahead.shapes) if ahead else 0
  fetched //= axes[meshes.TRIAL] * axes[meshes.DATA]
  # The two programs never run at the same time.
  activations = map(_activations, (compiled.chunks.program, compiled.score))
  return Estimate(
    pool=sum(map(num_bytes, {id(p): p for p in pools.values()}.values())),
    state=num_bytes(compiled.state) // trials,
    trials=trials // axes[meshes.TRIAL],
    activations=max((x for x in activations if x is not None), default=None),
    copies=copies,
    exposure=counts if jax.default_backend() == "cpu" else 0,
    prefetched=prefetch.CHUNKS * fetched,
  )


def num_bytes(tree: PyTree) -> int:
  """Returns the bytes of all arrays of a tree, or of their shapes."""
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _activations(program: jax.stages.Compiled) -> int | None:
  """Returns the bytes of temporaries and of results that are not donated."""
  analysis = program.memory_analysis()
  return analysis and (
    analysis.temp_size_in_bytes
    + analysis.output_size_in_bytes
    - analysis.alias_size_in_bytes
  )


def fits(needed: Estimate, free: int | None) -> bool:
  """Returns whether a run fits; True if the free memory is unknown."""
  return free is None or needed.total <= (1 - MARGIN) * free


def free_memory(mesh: Mesh | None = None) -> int | None:
  """Returns the bytes free on each device of a mesh; None if unknown.

  The devices of a CPU share its memory.
  """
  device = jax.local_devices()[0]
  if device.platform == "cpu":
    known = [_free_on_host(), *_free_in_cgroups()]
    free = min((x for x in known if x is not None), default=None)
    return free and free // (len(mesh.local_devices) if mesh else 1)
  stats = device.memory_stats() or {}
  limit = stats.get("bytes_limit")
  return limit and limit - stats.get("bytes_in_use", 0)


def _read_proc(name: str) -> list[str]:
  path = _PROC / name
  return path.read_text().splitlines() if path.exists() else []  # not Linux


def _free_on_host() -> int | None:
  sizes = dict(line.split(":") for line in _read_proc("meminfo"))
  free = sizes.get("MemAvailable")
  return free and int(free.split()[0]) * 1024  # "kB" is 1024 bytes


def _free_in_cgroups() -> list[int]:
  """Returns the bytes free under each of the process's (container's) limits.

  Linux: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
  """
  free = []
  for line in _read_proc("self/cgroup"):
    _, controllers, path = line.split(":", 2)
    if controllers not in _CGROUP_FILES:
      continue
    folder = _CGROUPS / controllers / path.lstrip("/")
    for group in (folder, *folder.parents):
      with contextlib.suppress(OSError, ValueError):  # no limit, or "max"
        files = [group / name for name in _CGROUP_FILES[controllers]]
        limit, used = [int(file.read_text()) for file in files]
        stat = (group / "memory.stat").read_text().splitlines()
        # The cache of files that are not in use can be reclaimed.
        cache = dict(line.split() for line in stat).get("inactive_file", 0)
        free.append(max(limit - used + int(cache), 0))
  return free


def describe_bytes(count: int | None) -> str:
  """Returns bytes as text, such as "12.3 GB"; "unknown" for None."""
  if count is None:
    return "unknown"
  for unit, size in (("GB", 1e9), ("MB", 1e6)):
    if count >= size:
      return f"{count / size:.1f} {unit}"
  return f"{count / 1e3:.1f} kB"
