"""Every run compiled before the first, if the device has room for it."""

import pathlib
import time
from concurrent import futures
from typing import Any

from absl import logging

from alcurr.core import cpu
from alcurr.core.errors import UserError
from alcurr.experiments import advice, reference_model, sampler_run, setup
from alcurr.experiments.config import build
from alcurr.experiments.sampler_run import ExperimentContext, PreparedRun
from alcurr.experiments.savings import Case
from alcurr.training import checkpoint_writer, memory
from alcurr.training.run import compile_run
from alcurr.types import Pool

REFERENCE = build.REFERENCE


def compile_runs(
  context: ExperimentContext,
  pools: dict[str, Pool],
  names: list[str],
  cache_dir: pathlib.Path,
) -> dict[str, PreparedRun]:
  """Compiles runs, side by side, if the device has room for them.

  A plan's `compile_seconds` is the run's share of the time that all took.

  Args:
    context: of the experiment.
    pools: on the host, not yet scored.
    names: of samplers, or REFERENCE.
    cache_dir: where other settings of the data find it.

  Raises:
    UserError: a run that needs more memory than the device has, and what
      would fit.
  """
  started = time.perf_counter()
  planned, needs = {}, {}
  with futures.ThreadPoolExecutor(cpu.cores()) as threads:
    each = threads.map(lambda name: _plan(context, pools, name), names)
    for name, plan in zip(names, each, strict=True):
      planned[name], needs[name] = plan
  seconds = time.perf_counter() - started
  alone = sum(one.compiled.compile_seconds for one in planned.values())
  for name, one in planned.items():
    share = one.compiled.compile_seconds / alone * seconds
    planned[name] = one._replace(
      compiled=one.compiled._replace(compile_seconds=share)
    )
  for name, need in needs.items():
    free = memory.device_memory()
    known = "unknown" if free is None else memory.in_words(free)
    logging.info(
      "%s: needs about %s: %s; the device has %s free.",
      *(name, memory.in_words(need.total), need.parts(), known),
    )
  # Asked anew: the programs too take of the host's memory, and others do.
  free = memory.device_memory()
  over = {n: need for n, need in needs.items() if not memory.fits(need, free)}
  if over:
    logging.info("That is too much: what would fit is being computed.")
    greediest = max(over, key=lambda name: over[name].total)
    copies = len(pools.keys() & build.TRAIN_ON)
    num_train = len(context.parts["train"].label)
    config = context.experiment.config
    case = Case(
      config,
      names=tuple(over),
      need=over[greediest],
      free=free,
      num_train=num_train,
      train_bytes=copies * memory.num_bytes(pools["train"]) / num_train,
    )

    def measure(values: dict[str, Any]) -> memory.Need:
      changed = build.build_experiment(build.changed(config, values))
      other = setup.load_context(changed, cache_dir)
      other_pools = setup.host_pools(other)
      setup.check_fit(other, other_pools)
      return _plan(other, other_pools, greediest)[1]

    who = REFERENCE if greediest == REFERENCE else f"samplers.{greediest}"
    raise UserError(advice.refusal(who, case, measure))
  return planned


def _plan(
  context: ExperimentContext, pools: dict[str, Pool], name: str
) -> tuple[PreparedRun, memory.Need]:
  if name == REFERENCE:
    pools = setup.with_probe(
      {n: pools[n]._replace(partitions={}) for n in context.parts}
    )
    run = reference_model.make_run(context, pools)
    planned = PreparedRun(run, compile_run(run, pools))
  else:
    planned = sampler_run.compile_sampler_run(context, name, pools)
  copies = checkpoint_writer.num_copies(context.experiment.config)
  return planned, memory.need(planned.compiled, pools, copies)
