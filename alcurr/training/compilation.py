"""Compiles each program once, and counts what a step costs."""

import functools
import hashlib
import os
import pathlib
import threading
from collections.abc import Callable, Hashable

import jax
from jax.sharding import Mesh, NamedSharding

from alcurr.core.errors import UserError
from alcurr.training import parallel, step
from alcurr.types import Pool, PyTree, TrainState

# Programs to run, by the hash of their text for one device and by the devices,
# and programs to count FLOPs of. Samplers that differ only in the numbers of
# their state share a text.
_compiled: dict[tuple[bytes, str], jax.stages.Compiled] = {}
_counted: dict[bytes, jax.stages.Compiled] = {}
# Programs that only count are not run again: few are held, since a process can
# map only so many into memory.
_MOST_COUNTED = 16
# The option for the least seconds of compilation of programs that are saved.
_SMALLEST = "jax_persistent_cache_min_compile_time_secs"
# Held while a text is compiled, so that a second thread waits for the program.
_locks: dict[Hashable, threading.Lock] = {}

# XLA's CPU backend hands these operations to the library YNN: its default
# without convolutions. With its own convolutions, a step of the small CNN takes
# half the time, and one of ResNet-50 nine tenths (`benchmarks.lowerings`).
_YNN = "xla_cpu_experimental_ynn_fusion_type"
_YNN_TYPES = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"

# Skips the slowest passes of programs that never run, but none that decides
# what is computed.
_COUNTING = {
  "xla_backend_optimization_level": 0,
  "xla_llvm_disable_expensive_passes": True,
}


@functools.cache
def compiler_options() -> dict[str, str]:
  """Returns the options for `jax.jit` or `compile` on this backend.

  There are none on accelerators, if XLA_FLAGS set the option already, or if
  XLA does not know it.
  """
  if jax.default_backend() != "cpu" or _YNN in os.environ.get("XLA_FLAGS", ""):
    return {}
  options = {_YNN: _YNN_TYPES}
  try:
    jax.jit(lambda: 0).lower().compile(options)
  except jax.errors.JaxRuntimeError:
    return {}
  return options


def compile_once(
  fun: Callable,
  *args: PyTree,
  donate: tuple[int, ...] = (),
  mesh: Mesh | None = None,
  results: PyTree = parallel.REPLICATED,
  on_one_device: tuple[PyTree, ...] | None = None,
) -> jax.stages.Compiled:
  """Compiles a function for arrays or shapes, unless it is compiled already.

  Several threads may compile at the same time.

  Args:
    fun: of a state with a leading axis [S], and other arguments.
    *args: its arguments.
    donate: the positions of those whose memory the results may take.
    mesh: the devices that share the work; None for one.
    results: how they are split over a mesh, a tree prefix.
    on_one_device: the arguments without the mesh, if their shapes differ.
  """
  # Unused arguments stay: without them, two programs that read different
  # partitions of the same shapes would have the same text.
  jit = functools.partial(jax.jit, fun, donate_argnums=donate, keep_unused=True)
  # Shapes alone, wherever arrays are
  args, alone = jax.eval_shape(lambda *x: x, args, on_one_device or args)
  lowered = jit().lower(*alone)
  text = f"{lowered.in_tree} {lowered.out_tree} {lowered.as_text()}"

  def compile_program() -> jax.stages.Compiled:
    if mesh is None:
      return lowered.compile(compiler_options())
    into = jax.tree.map(lambda spec: NamedSharding(mesh, spec), results)
    jitted = jit(
      in_shardings=parallel.shardings(mesh, *args), out_shardings=into
    )
    with jax.set_mesh(mesh):
      padded = parallel.pad_split(mesh, args)
      return jitted.lower(*padded).compile(compiler_options())

  key = _hash(text), f"{mesh} {mesh.devices}" if mesh else ""
  return _get(_compiled, key, compile_program)


def _hash(text: str) -> bytes:
  return hashlib.blake2b(text.encode()).digest()


def _get(
  programs: dict[Hashable, jax.stages.Compiled],
  key: Hashable,
  compile_program: Callable[[], jax.stages.Compiled],
) -> jax.stages.Compiled:
  with _locks.setdefault(key, threading.Lock()):
    if key not in programs:
      programs[key] = compile_program()
  return programs[key]


def digest(*programs: jax.stages.Compiled | None) -> str:
  """Returns a hash of the texts of programs of `compile_once`.

  The text is StableHLO without locations in the source, as on one device. So it
  changes with what is computed, constants included, and not with comments,
  paths or the number of devices.
  """
  texts = [
    text for p in programs for (text, _), q in _compiled.items() if p is q
  ]
  return hashlib.blake2b(b"".join(texts), digest_size=8).hexdigest()


def cache_programs(folder: pathlib.Path | None, profiled: bool) -> None:
  """Saves compiled programs in a folder, if any; the user's own goes first.

  The small ones too: an experiment has dozens, which take seconds together.
  """
  if folder and not jax.config.jax_compilation_cache_dir:
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if _SMALLEST.upper() not in os.environ:
      jax.config.update(_SMALLEST, 0.0)
  if profiled:
    # Cached programs may name their operations as older code did.
    jax.config.update("jax_compilation_cache_include_metadata_in_key", True)


def find_devices() -> list[jax.Device]:
  """Returns the devices to run on.

  Raises:
    UserError: JAX_PLATFORMS names a platform that is unknown or not here.
  """
  try:
    return jax.devices()
  except RuntimeError as error:
    reason = str(error).splitlines()[0]
    text = f"expected a platform of this machine ({reason})"
    raise UserError("missing", "JAX_PLATFORMS", text) from error


def _cpu() -> jax.Device:
  try:
    return jax.local_devices(backend="cpu")[0]
  except RuntimeError as error:
    text = "expected cpu in the list, where FLOPs are counted; add or unset it"
    raise UserError("missing", "JAX_PLATFORMS", text) from error


def count_flops(fun: Callable, *args: PyTree) -> float:
  """Returns the FLOPs of a function of arrays or shapes, without running it."""
  program = _count(fun, *args)
  return program.cost_analysis().get("flops", 0.0)


def _count(fun: Callable, *args: PyTree) -> jax.stages.Compiled:
  """Compiles a function for the CPU, only to count its FLOPs."""
  with jax.default_device(_cpu()):
    lowered = jax.jit(fun).lower(*args)
  compile_program = functools.partial(lowered.compile, _COUNTING)
  program = _get(_counted, _hash(lowered.as_text()), compile_program)
  while len(_counted) > _MOST_COUNTED:
    _counted.pop(next(iter(_counted)), None)
  return program


def count_parts(
  steps: step.Steps, state: TrainState, pool: Pool, probe: Pool
) -> dict[str, tuple[float, jax.stages.Compiled]]:
  """Returns how often each part of a step runs per step, and its program.

  The programs only serve to count FLOPs. They are always compiled for the CPU:
  a GPU leaves most of a step to libraries, whose work its count omits.
  State and pools, of one trial, may be arrays or shapes.
  """
  state, pool, probe = jax.eval_shape(lambda *x: x, state, pool, probe)
  prepared = jax.eval_shape(steps.prepare, state, pool, probe)
  measured, scoring = 1 / steps.interval, steps.scoring_share
  unscored = functools.partial(steps.measured, scores=False)
  plain_unscored = functools.partial(steps.plain, scores=False)
  scored = functools.partial(steps.measured, scores=True)
  plain_scored = functools.partial(steps.plain, scores=True)
  parts = {
    "prepare": (1 / steps.cycle, steps.prepare, ()),
    "measured": (measured * scoring, scored, (prepared,)),
    "plain": ((1 - measured) * scoring, plain_scored, (prepared,)),
    # A branch would count as its most costly side.
    "measured, unscored": (measured * (1 - scoring), unscored, (prepared,)),
    "unscored": ((1 - measured) * (1 - scoring), plain_unscored, (prepared,)),
  }
  counted = {}
  for name, (share, part, inputs) in parts.items():
    if share > 0:
      counted[name] = share, _count(part, state, pool, probe, *inputs)
  return counted


def step_flops(
  steps: step.Steps, state: TrainState, pool: Pool, probe: Pool
) -> float:
  """Returns the FLOPs of a step of one trial; see `count_parts`."""
  counted = count_parts(steps, state, pool, probe).values()
  return sum(x * part.cost_analysis().get("flops", 0.0) for x, part in counted)
