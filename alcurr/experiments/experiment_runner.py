"""Runs an experiment over all its samplers: check, prepare, train, report.

Everything is checked before anything is trained. A finished run is on disk
before the next one begins.
"""

import contextlib
import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd
from absl import logging
from ml_collections import ConfigDict

from alcurr.core import files, lock, paths, specs, waiting
from alcurr.data import cache
from alcurr.data.pool import locate, on_device
from alcurr.experiments import (
  added_trials,
  charges,
  compiled_runs,
  loggers,
  preemption,
  reference_model,
  sampler_trials,
  setup,
)
from alcurr.experiments.added_trials import Block, unfinished_blocks
from alcurr.experiments.config import build
from alcurr.experiments.pools import host_pools
from alcurr.experiments.resumable import check_resumable
from alcurr.experiments.workdir import (
  SHARED_FILES,
  check_workdir,
  make_record,
)
from alcurr.report import gallery, page, tables
from alcurr.training import (
  compilation,
  parallel,
  processes,
)
from alcurr.types import Pool


def run(
  config: ConfigDict,
  workdir: pathlib.Path,
  profile: bool = False,
  signals: preemption.Signals | None = None,
  chosen: Sequence[str] | None = None,
) -> pd.DataFrame | None:
  """Runs the unfinished samplers of an experiment, and reports all.

  Other processes may run other samplers in the same folder. The last to finish
  reports, and any that has nothing to run.

  Args:
    config: see alcurr/experiments/config/defaults.py.
    workdir: the experiment's own folder, created if missing.
    profile: whether each run writes where the time of its steps goes, in the
      folder `profile` of its own.
    signals: stop a run with a checkpoint.
    chosen: the names of the samplers to run; None for all.

  Returns:
    The summary, a row per finished sampler; None if there is no report yet.

  Raises:
    UserError: a mistake in the config, the data or the workdir, or a run that
      needs more memory than the device has, or is another process's.
    Stopped: by a signal, while a run was trained.
  """
  compilation.find_devices()
  experiment = build.build_experiment(config)
  config, first = experiment.config, processes.is_first()
  mesh = setup.make_mesh(experiment)
  loggers.parse(config.tracking, config.tracking_uri, workdir)
  chosen = [*experiment.runs] if chosen is None else chosen
  for name in chosen:
    specs.check_choice("--runs", name, experiment.runs)
  if first:
    check_workdir(workdir, config)
  with contextlib.ExitStack() as stack:
    locks = {name: contextlib.ExitStack() for name in chosen}
    for name, held in locks.items():
      stack.enter_context(held)
      if first and unfinished_blocks(workdir, name, config.trials):
        held.enter_context(lock.locked(workdir, run=name))
    logger = stack.enter_context(track(config, workdir))
    with _alone_in(workdir, config):
      if first:
        files.remove_temporary(workdir, SHARED_FILES)
      if first and (workdir / "runs").exists():
        files.remove_temporary(workdir / "runs", chosen)
      cache_dir = build.cache_dir(config, workdir)
      paths.check_can_make(cache_dir, "--config.cache_dir")
      with waiting.announced("Reading data"):
        context = setup.load_context(experiment, cache_dir, signals, mesh)

    def look() -> processes.Shared:
      left = (unfinished_blocks(workdir, n, config.trials) for n in locks)
      blocks = [[*block] for blocks in left for block in blocks]
      return {}, [blocks, not blocks and _has_gallery(workdir)]

    _, (blocks, is_shown) = processes.from_first(look)
    blocks = [Block(*block) for block in blocks]
    _train(context, workdir, locks, blocks, is_shown, profile, logger)
    return report(workdir, logger, is_last=not blocks) if first else None


@contextlib.contextmanager
def _alone_in(workdir: pathlib.Path, config: ConfigDict) -> Iterator[None]:
  """Locks the workdir; of the processes of a run, the first does."""
  if not processes.is_first():
    yield
    return
  with lock.locked(workdir, wait=True):
    # Another process may have used the folder until now.
    check_workdir(workdir, config)
    yield


def _train(
  context: setup.ExperimentContext,
  workdir: pathlib.Path,
  locks: Mapping[str, contextlib.ExitStack],
  blocks: Sequence[Block],
  is_shown: bool,
  profile: bool,
  logger: loggers.LoggerGroup,
) -> None:
  """Trains blocks of some runs, and first the scores that they read.

  `locks` has the lock of each run by its name, which ends with the run.
  """
  experiment = context.experiment
  unscored = host_pools(context)
  setup.check_fit(context, unscored)
  missing = [] if is_shown else reference_model.missing_fits(context)
  first = processes.is_first()
  if first:
    check_resumable(context, workdir, blocks, missing)
  basis = experiment.config.budget_basis
  costs = None
  if blocks and basis == "flops":
    with waiting.announced("Counting the FLOPs of scores"):
      costs = charges.count_costs(context)
  compiled = compiled_runs.compile_runs(
    context, unscored, blocks, missing, costs
  )
  for block, (spec, _) in compiled.items() if first else ():
    added_trials.check_steps(workdir, block, spec.num_steps)
  # Nothing is refused from here on, so the workdir may be written to.
  with _alone_in(workdir, experiment.config):
    if first:
      files.write_json(workdir / "config.json", make_record(experiment.config))
      files.make_folder(workdir / "runs")
    if not is_shown:
      pools, made = make_pools(context, workdir / "scores")
      made = made._replace(costs=made.costs | (costs or {}))
      train = context.parts["train"]
      find = functools.partial(locate, train)
      if first:
        gallery.write_gallery(
          workdir,
          parallel.local(pools["train"]),
          context.gather,
          train.class_names,
          find,
          context.target_scale,
        )
  trained = {block.sampler for block in blocks}
  finished = [name for name in locks if name not in trained]
  for name in finished if first else ():
    note = "; not profiled" if profile else ""
    logging.info("%s: already finished%s.", name, note)
    # A killed process may not have sent the last rows.
    logger.replay(workdir / "runs" / name)
  for i, block in enumerate(blocks, start=1):
    spec, programs = compiled.pop(block)
    scores = charges.describe_scores(
      context, block.sampler, made.seconds, made.costs
    )
    sampler_trials.run_block(
      context, spec, programs, pools, scores, workdir, block, logger, profile
    )
    if block.sampler not in [later.sampler for later in blocks[i:]]:
      locks[block.sampler].close()


def track(config: ConfigDict, workdir: pathlib.Path) -> loggers.LoggerGroup:
  """Returns the trackers of an experiment."""
  names = loggers.parse(config.tracking, config.tracking_uri, workdir)
  names = names if processes.is_first() else []
  record = make_record(config)
  tracked = loggers.Experiment(workdir, record, config.tracking_uri)
  return loggers.LoggerGroup(tracked, names)


def report(
  workdir: pathlib.Path, logger: loggers.LoggerGroup, is_last: bool
) -> pd.DataFrame | None:
  """Writes tables and page if all runs are finished, or for the last process.

  For the last, all finished runs need finished baselines. Returns the summary;
  None without a report.
  """
  with lock.locked(workdir, wait=True):
    config = files.read_json(workdir / "config.json")
    missing = [
      name
      for name in config["samplers"]
      if unfinished_blocks(workdir, name, config["trials"])
    ]
    if missing:
      logging.info("Not finished: %s.", ", ".join(missing))
    if missing and not (is_last and page.has_baselines(workdir)):
      return None
    summary = tables.write_tables(workdir)
    page.write_report([workdir], workdir / "report.html")
  logger.report()
  return summary


def _has_gallery(workdir: pathlib.Path) -> bool:
  """Returns whether an experiment has a gallery that is not damaged."""
  with contextlib.suppress(*cache.UNREADABLE):
    return gallery.read_gallery(workdir) is not None
  return False


def make_pools(
  context: setup.ExperimentContext, checkpoint_dir: pathlib.Path
) -> tuple[dict[str, Pool], reference_model.MadeScores]:
  """Makes the scores that samplers read, and puts the pools on the device.

  Returns the pools by name, and what the scores took (when they were made).
  `checkpoint_dir` is of the reference models' checkpoints.
  """
  made = reference_model.get_scores(context, checkpoint_dir)
  pools = host_pools(context, made.values, made.clusters)
  if made.clusters:  # whose sizes were not known before
    setup.check_fit(context, pools)
  return on_device(pools, parallel.replicator(context.mesh)), made
