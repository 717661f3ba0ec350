"""Every run compiled before the first, if the device has room for it."""

import pathlib
from typing import Any

from absl import logging
from ml_collections import ConfigDict

from alcurr import (
  advice,
  checkpoint,
  jobs,
  memory,
  reference,
  runs,
  settings,
  train,
)
from alcurr.errors import UserError
from alcurr.runs import Job, Planned
from alcurr.savings import Case
from alcurr.types import Pool

# A run like the samplers'; none of them has a name with a space.
REFERENCE = "the reference model"


def plan_runs(
  config: ConfigDict,
  job: Job,
  pools: dict[str, Pool],
  names: list[str],
  cache_dir: pathlib.Path,
) -> dict[str, Planned]:
  """Compiles runs, if the device has room for them.

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
  planned, needs = {}, {}
  for name in names:
    planned[name], need = _plan(config, job, pools, name)
    needs[name] = need
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
    planned = Planned(run, train.make_plan(run, pools))
  else:
    planned = runs.plan_sampler(config, job, name, pools)
  copies = checkpoint.num_copies(config)
  return planned, memory.need(planned.plan, pools, copies)
