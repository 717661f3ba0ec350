"""Compiles every run before the first one starts, and checks that it fits."""

import time
from concurrent import futures

from absl import logging

from alcurr.core import cpu
from alcurr.core.errors import UserError
from alcurr.experiments import reference_model, sampler_run, setup
from alcurr.experiments.config.build import REFERENCE
from alcurr.experiments.sampler_run import ExperimentContext, PreparedRun
from alcurr.training import checkpoint_writer, memory
from alcurr.training.run import compile_run
from alcurr.types import Pool


def compile_runs(
  context: ExperimentContext, pools: dict[str, Pool], names: list[str]
) -> dict[str, PreparedRun]:
  """Compiles runs in parallel, and checks that the device can hold each.

  The `compile_seconds` of a run are its share of the time that all took.

  Args:
    context: of the experiment.
    pools: on the host, not yet scored.
    names: of samplers, or REFERENCE.

  Raises:
    UserError: a run needs more memory than the device has.
  """
  started = time.perf_counter()
  with futures.ThreadPoolExecutor(cpu.cores()) as threads:
    compiled = list(
      threads.map(lambda name: _compile(context, pools, name), names)
    )
  seconds = time.perf_counter() - started
  total = sum(run.compiled.compile_seconds for run in compiled)
  copies = checkpoint_writer.num_copies(context.experiment.config)
  prepared = {}
  # Read after compilation, since programs take host memory too.
  free = memory.free_memory()
  for name, run in zip(names, compiled, strict=True):
    share = run.compiled.compile_seconds / total * seconds
    programs = run.compiled._replace(compile_seconds=share)
    prepared[name] = run._replace(compiled=programs)
    needed = memory.estimate(programs, pools, copies)
    available = "unknown" if free is None else memory.describe_bytes(free)
    logging.info(
      "%s: needs about %s; %s are free.", name, needed.describe(), available
    )
    if not memory.fits(needed, free):
      raise UserError(
        "memory",
        "difficulty" if name == REFERENCE else f"samplers.{name}",
        f"the run needs about {needed.describe()}, and the device has "
        f"{available} free; try a smaller batch_size, trials_by=map, "
        "data.pool=host or fewer trials",
      )
  return prepared


def _compile(
  context: ExperimentContext, pools: dict[str, Pool], name: str
) -> PreparedRun:
  if name != REFERENCE:
    return sampler_run.compile_sampler_run(context, name, pools)
  pools = setup.with_probe(
    {part: pools[part]._replace(partitions={}) for part in context.parts}
  )
  run = reference_model.make_run(context, pools)
  return PreparedRun(run, compile_run(run, pools))
