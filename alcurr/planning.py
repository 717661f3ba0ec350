"""Every run compiled before the first, if the device has room for it."""

import pathlib
import time
from concurrent import futures
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from alcurr import (
  advice,
  jobs,
  keeping,
  machine,
  memory,
  plans,
  reference,
  runs,
  settings,
)
from alcurr.errors import UserError
from alcurr.runs import Job, Planned
from alcurr.savings import Case
from alcurr.types import Pool

REFERENCE = reference.NAME


def plan_runs(
  config: ConfigDict,
  job: Job,
  pools: dict[str, Pool],
  names: list[str],
  cache_dir: pathlib.Path,
) -> dict[str, Planned]:
  """Compiles runs, side by side, if the device has room for them.

  A plan's `compile_seconds` is the run's share of the time that all took.

  Args:
    config: of the experiment.
    job: likewise.
    pools: on the host, not yet scored.
    names: of samplers, or REFERENCE.
    cache_dir: where other settings of the data find it.

  Raises:
    UserError: a run that needs more memory than the device has, and what
      would fit.
  """
  started = time.perf_counter()
  planned, needs = {}, {}
  with futures.ThreadPoolExecutor(machine.cores()) as threads:
    each = threads.map(lambda name: _plan(config, job, pools, name), names)
    for name, plan in zip(names, each, strict=True):
      planned[name], needs[name] = plan
  seconds = time.perf_counter() - started
  alone = sum(one.plan.compile_seconds for one in planned.values())
  for name, one in planned.items():
    share = one.plan.compile_seconds / alone * seconds
    planned[name] = one._replace(plan=one.plan._replace(compile_seconds=share))
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
    copies = len(pools.keys() & settings.TRAIN_ON)
    num_train = len(job.parts["train"].label)
    case = Case(
      config,
      names=tuple(over),
      need=over[greediest],
      free=free,
      num_train=num_train,
      train_bytes=copies * memory.num_bytes(pools["train"]) / num_train,
    )

    def measure(values: dict[str, Any]) -> memory.Need:
      changed = settings.changed(config, values)
      settings.check(changed)
      other = jobs.with_settings(config, job, changed, cache_dir)
      other_pools = jobs.host_pools(changed, other)
      jobs.check_fit(changed, other, other_pools)
      return _plan(changed, other, other_pools, greediest)[1]

    who = REFERENCE if greediest == REFERENCE else f"samplers.{greediest}"
    raise UserError(advice.refusal(who, case, measure))
  return planned


def _plan(
  config: ConfigDict, job: Job, pools: dict[str, Pool], name: str
) -> tuple[Planned, memory.Need]:
  if name == REFERENCE:
    pools = jobs.with_probe({n: pools[n]._replace(arms={}) for n in job.parts})
    run = reference.make_run(config, job, pools)
    planned = Planned(run, plans.make_plan(run, pools))
  else:
    planned = runs.plan_sampler(config, job, name, pools)
  copies = keeping.num_copies(config)
  return planned, memory.need(planned.plan, pools, copies)
