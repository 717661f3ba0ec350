"""Compiled programs: each once, and what a step costs by their count."""

import functools
import hashlib
import os
import threading
from collections.abc import Callable

import jax

from alcurr.core.errors import UserError
from alcurr.training import step
from alcurr.types import Pool, PyTree, TrainState

# Programs by their text: samplers that differ only in the numbers of their
# state lower to the same text, and are compiled once.
_compiled: dict[bytes, jax.stages.Compiled] = {}
# One for each text that is being compiled: who comes second waits.
_locks: dict[bytes, threading.Lock] = {}

# What XLA's CPU backend hands to the library YNN: all of its own choice but
# convolutions, which XLA's own kernels do in half the time in a step of the
# small CNN and in nine tenths in one of ResNet-50 (`benchmarks.lowerings`).
_YNN = "xla_cpu_experimental_ynn_fusion_type"
_YNN_TYPES = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"

# Compiled to be counted and not run: without what costs most time. The passes
# that decide what is computed are left as they are.
_COUNTING = {
  "xla_backend_optimization_level": 0,
  "xla_llvm_disable_expensive_passes": True,
}


@functools.cache
def compiler_options() -> dict[str, str]:
  """What programs are compiled with here, for `jax.jit` or `compile`.

  Empty but on a CPU, and there too if the user's XLA_FLAGS have a choice of
  their own or this XLA does not know the option.
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
  """`fun` compiled for arguments of these shapes, some of them donated.

  Several threads may compile at once.
  """
  # Unused arguments are kept: without them two programs that read different
  # arms of the same shapes would have the same text.
  jitted = jax.jit(fun, donate_argnums=donate, keep_unused=True)
  lowered = jitted.lower(*args)
  text = f"{lowered.in_tree} {lowered.out_tree} {lowered.as_text()}"
  return _of_text(_compiled, text, lambda: lowered.compile(compiler_options()))


def _of_text(
  known: dict[bytes, jax.stages.Compiled],
  text: str,
  compiled: Callable[[], jax.stages.Compiled],
) -> jax.stages.Compiled:
  """The program of a text, compiled by the first who asks."""
  digest = hashlib.blake2b(text.encode()).digest()
  with _locks.setdefault(digest, threading.Lock()):
    if digest not in known:
      known[digest] = compiled()
  return known[digest]


# Programs that are counted and not run, by their text.
_counted: dict[bytes, jax.stages.Compiled] = {}


def _cpu() -> jax.Device:
  try:
    return jax.devices("cpu")[0]
  except RuntimeError as error:
    raise UserError(
      "FLOPs are counted in a program for the CPU, which JAX_PLATFORMS leaves "
      "out; unset it, or add cpu to its list."
    ) from error


def count_parts(
  steps: step.Steps, state: TrainState, pool: Pool, probe: Pool
) -> dict[str, tuple[float, jax.stages.Compiled]]:
  """The parts of a step that run: how often per step, and a program to count.

  The programs are a CPU's, whatever runs the step: what a GPU's libraries do,
  which is most of it, is in no count of its own programs.

  Args:
    steps: the parts.
    state: of one trial, arrays or their shapes; likewise the pools.
    pool: the training pool.
    probe: the pool that samplers may learn from.
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
      program = _of_text(
        _counted,
        lowered.as_text(),
        lambda lowered=lowered: lowered.compile(_COUNTING),
      )
      counted[name] = share, program
  return counted


def step_flops(
  steps: step.Steps, state: TrainState, pool: Pool, probe: Pool
) -> float:
  """FLOPs of a step of one trial: its parts, each as often as it runs.

  The arguments are those of `count_parts`.
  """
  counted = count_parts(steps, state, pool, probe).values()
  return sum(
    share * program.cost_analysis().get("flops", 0.0)
    for share, program in counted
  )
