"""What a run will need of the device's memory, and what there is.

    pool + state x trials + activations

The pools stay on the device for the whole experiment; the state is that of
all trials, donated from chunk to chunk, so it is there once, and a copy of it
on its way to a checkpoint; where the device is the host, what each trial has
seen of the pool (`tally`) goes with it; the activations are what a compiled
program holds beside its arguments while it runs. All of it is read from shapes
and from compiled programs: nothing is put on the device.
"""

import math
import os
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from alcurr.training import exposure, prefetch
from alcurr.training.run import CompiledRun
from alcurr.types import Pool, PyTree

# Of the free memory, for what no program counts: gaps between buffers, a
# kernel's own workspace, on the CPU also the host's own work.
MARGIN = 0.05

_PROC = pathlib.Path("/proc")
_CGROUPS = pathlib.Path("/sys/fs/cgroup")


class Need(NamedTuple):
  """In bytes."""

  pool: int  # all pools of the experiment
  state: int  # of one trial
  trials: int
  training: int | None  # beside them, by a chunk; None where none can tell
  evaluation: int | None  # likewise by an evaluation
  copies: int = 0  # of all trials' states, for checkpoints
  exposure: int = 0  # of one trial, where the host's memory is the device's
  ahead: int = 0  # of what is brought from the host ahead of the steps

  @property
  def activations(self) -> int | None:
    """Of the greedier of the two programs, which never run at once."""
    known = [x for x in (self.training, self.evaluation) if x is not None]
    return max(known, default=None)

  @property
  def total(self) -> int:
    """Of all that is known."""
    states = (self.state + self.exposure) * self.trials * (1 + self.copies)
    return self.pool + self.ahead + states + (self.activations or 0)

  def parts(self) -> str:
    """The parts in words."""
    trials = f" x {self.trials} trials" if self.trials > 1 else ""
    copies = f" x {1 + self.copies} with its copies" if self.copies else ""
    known = self.activations is not None
    activations = in_words(self.activations) if known else "unknown"
    ahead = f", fetched ahead {in_words(self.ahead)}" if self.ahead else ""
    return (
      f"pool {in_words(self.pool)}{ahead}, "
      f"state {in_words(self.state + self.exposure)}{trials}{copies}, "
      f"activations {activations}"
    )


def need(plan: CompiledRun, pools: Mapping[str, Pool], copies: int = 0) -> Need:
  """What a planned run needs.

  Args:
    plan: of the run.
    pools: every pool that the experiment has on the device, arrays or their
      shapes; one that has two names counts once.
    copies: of the state, on the way to a checkpoint.
  """
  trials = plan.state.step.shape[0]
  # No run trains on more than the largest; beside its counts a tally is small.
  largest = max((p.label.shape[0] for p in pools.values()), default=0)
  count = np.dtype(exposure.COUNT).itemsize * largest
  ahead = plan.chunks.prefetch
  return Need(
    pool=sum(map(num_bytes, {id(p): p for p in pools.values()}.values())),
    state=num_bytes(plan.state) // trials,
    trials=trials,
    training=_beside_arguments(plan.chunks.program),
    evaluation=_beside_arguments(plan.score),
    copies=copies,
    exposure=count if jax.default_backend() == "cpu" else 0,
    ahead=prefetch.CHUNKS * num_bytes(ahead.shapes) if ahead else 0,
  )


def num_bytes(tree: PyTree) -> int:
  """Of all arrays of a tree, or of their shapes."""
  return sum(
    math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree)
  )


def _beside_arguments(program: jax.stages.Compiled) -> int | None:
  """Bytes of a program's temporaries and of results that are not donated."""
  analysis = program.memory_analysis()
  if analysis is None:
    return None
  return (
    analysis.temp_size_in_bytes
    + analysis.output_size_in_bytes
    - analysis.alias_size_in_bytes
  )


def fits(wanted: Need, free: int | None) -> bool:
  """Whether there is room; where no one knows how much there is, yes."""
  return free is None or wanted.total <= (1 - MARGIN) * free


def device_memory() -> int | None:
  """Bytes that the device has free for this process; None if unknown."""
  device = jax.devices()[0]
  if device.platform == "cpu":
    return _host_memory()
  stats = device.memory_stats() or {}
  if "bytes_limit" not in stats:
    return None
  return stats["bytes_limit"] - stats.get("bytes_in_use", 0)


def _host_memory() -> int | None:
  """Bytes of memory that the host can still give to this process."""
  known = [_available(), *_left_in_cgroups()]
  return min((x for x in known if x is not None), default=None)


def _available() -> int | None:
  try:
    for line in (_PROC / "meminfo").read_text().splitlines():
      if line.startswith("MemAvailable:"):
        return int(line.split()[1]) * 1024  # "kB" there is 1024 bytes
  except OSError:
    pass  # not Linux
  try:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  except (AttributeError, OSError, ValueError):
    return None


def _left_in_cgroups() -> list[int]:
  """What each control group above this process, as in a container, leaves."""
  try:
    lines = (_PROC / "self/cgroup").read_text().splitlines()
  except OSError:
    return []
  left = []
  for line in lines:
    _, kinds, path = line.split(":", 2)
    if kinds == "":  # version 2
      root, names = _CGROUPS, ("memory.max", "memory.current")
    elif "memory" in kinds.split(","):
      root = _CGROUPS / "memory"
      names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    else:
      continue
    folder = root / path.lstrip("/")
    for group in (folder, *folder.parents):
      if group.is_relative_to(root):
        left += _left(group, *names)
  return left


def _left(group: pathlib.Path, limit: str, usage: str) -> list[int]:
  """[bytes that a control group leaves], or [] where it sets no limit."""
  try:
    most = (group / limit).read_text().strip()
    used = int((group / usage).read_text())
    stat = dict(
      line.split() for line in (group / "memory.stat").read_text().splitlines()
    )
  except OSError:
    return []
  if most == "max":
    return []
  # Files that were read and are not in use make way.
  return [max(int(most) - used + int(stat.get("inactive_file", 0)), 0)]


def in_words(count: int) -> str:
  """Bytes as people read them: "12.3 GB"."""
  for unit, size in (("GB", 1e9), ("MB", 1e6)):
    if count >= size:
      return f"{count / size:.1f} {unit}"
  return f"{count / 1e3:.1f} kB"
