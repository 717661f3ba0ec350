"""Compiled programs: each once, and what a step costs by their count."""

import hashlib
from collections.abc import Callable

import jax

from alcurr import step
from alcurr.errors import UserError
from alcurr.types import Pool, PyTree, TrainState

# Programs by their text: samplers that differ only in the numbers of their
# state lower to the same text, and are compiled once.
_compiled: dict[bytes, jax.stages.Compiled] = {}


# Compiled to be counted and not run: without what costs most time. The passes
# that decide what is computed are left as they are.
_COUNTING = {
  "xla_backend_optimization_level": 0,
  "xla_llvm_disable_expensive_passes": True,
}


def compile_once(
  fun: Callable, *args: PyTree, donate: tuple[int, ...] = ()
) -> jax.stages.Compiled:
  """`fun` compiled for arguments of these shapes, some of them donated."""
  # Unused arguments are kept: without them two programs that read different
  # arms of the same shapes would have the same text.
  jitted = jax.jit(fun, donate_argnums=donate, keep_unused=True)
  lowered = jitted.lower(*args)
  text = f"{lowered.in_tree} {lowered.out_tree} {lowered.as_text()}"
  digest = hashlib.blake2b(text.encode()).digest()
  if digest not in _compiled:
    _compiled[digest] = lowered.compile()
  return _compiled[digest]


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
      digest = hashlib.blake2b(lowered.as_text().encode()).digest()
      if digest not in _counted:
        _counted[digest] = lowered.compile(_COUNTING)
      counted[name] = share, _counted[digest]
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
