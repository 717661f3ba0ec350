"""Compiles each program once, and counts what a step costs."""

import functools
import hashlib
import os
import threading
from collections.abc import Callable

import jax

from alcurr.core.errors import UserError
from alcurr.training import step
from alcurr.types import Pool, PyTree, TrainState

# Programs by their text, those to run and those to count. Samplers that differ
# only in the numbers of their state lower to the same text.
_compiled: dict[bytes, jax.stages.Compiled] = {}
_counted: dict[bytes, jax.stages.Compiled] = {}
# Held while a text is compiled, so that a second thread waits for the program.
_locks: dict[bytes, threading.Lock] = {}

# What XLA's CPU backend hands to the library YNN: its own choice without
# convolutions. XLA's kernels for those take half the time in a step of the
# small CNN and nine tenths in one of ResNet-50 (`benchmarks.lowerings`).
_YNN = "xla_cpu_experimental_ynn_fusion_type"
_YNN_TYPES = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"

# For programs that are only counted: skips the slowest passes, but none that
# decide what is computed.
_COUNTING = {
  "xla_backend_optimization_level": 0,
  "xla_llvm_disable_expensive_passes": True,
}


@functools.cache
def compiler_options() -> dict[str, str]:
  """Returns the options for `jax.jit` or `compile` on this backend.

  They are empty on accelerators, if the user's XLA_FLAGS set the option, and
  if this XLA does not know it.
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
  fun: Callable, *args: PyTree, donate: tuple[int, ...] = ()
) -> jax.stages.Compiled:
  """Compiles a function for these arguments, unless it is compiled already.

  Several threads may compile at the same time.

  Args:
    fun: to compile.
    *args: arrays, or their shapes.
    donate: positions of the arguments whose memory the results may take.
  """
  # Unused arguments stay: without them, two programs that read different
  # partitions of the same shapes would have the same text.
  jitted = jax.jit(fun, donate_argnums=donate, keep_unused=True)
  lowered = jitted.lower(*args)
  text = f"{lowered.in_tree} {lowered.out_tree} {lowered.as_text()}"
  return _get(_compiled, text, lambda: lowered.compile(compiler_options()))


def _get(
  programs: dict[bytes, jax.stages.Compiled],
  text: str,
  compile_program: Callable[[], jax.stages.Compiled],
) -> jax.stages.Compiled:
  digest = hashlib.blake2b(text.encode()).digest()
  with _locks.setdefault(digest, threading.Lock()):
    if digest not in programs:
      programs[digest] = compile_program()
  return programs[digest]


def _cpu() -> jax.Device:
  try:
    return jax.devices("cpu")[0]
  except RuntimeError as error:
    raise UserError(
      "missing",
      "JAX_PLATFORMS",
      "expected cpu in the list, where FLOPs are counted; add it, or unset "
      "JAX_PLATFORMS",
    ) from error


def count_parts(
  steps: step.Steps, state: TrainState, pool: Pool, probe: Pool
) -> dict[str, tuple[float, jax.stages.Compiled]]:
  """Returns how often each part of a step runs per step, and its program.

  The programs are to be counted and not run. They are always for the CPU: the
  libraries of a GPU do most of a step, and no count of its programs has them.

  Args:
    steps: the parts.
    state: of one trial, arrays or their shapes, as the pools.
    pool: the training pool.
    probe: the pool of the samplers' signals.
  """
  state, pool, probe = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (state, pool, probe)
  )
  prepared = jax.eval_shape(steps.prepare, state, pool, probe)
  counted = {}
  for name in ("prepare", "measured", "plain"):
    part = getattr(steps, name)
    share = steps.shares()[part]
    if share > 0:
      rest = () if name == "prepare" else (prepared,)
      with jax.default_device(_cpu()):
        lowered = jax.jit(part).lower(state, pool, probe, *rest)
      compile_program = functools.partial(lowered.compile, _COUNTING)
      program = _get(_counted, lowered.as_text(), compile_program)
      counted[name] = share, program
  return counted


def step_flops(
  steps: step.Steps, state: TrainState, pool: Pool, probe: Pool
) -> float:
  """Returns the FLOPs of a step of one trial; see `count_parts`."""
  counted = count_parts(steps, state, pool, probe).values()
  return sum(
    share * program.cost_analysis().get("flops", 0.0)
    for share, program in counted
  )
