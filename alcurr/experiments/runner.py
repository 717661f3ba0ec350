"""Runs an experiment: check, prepare, train each sampler, report.

Everything is checked before anything is trained. A finished run is on disk
before the next one begins.
"""

import pathlib
import time
from concurrent import futures

import pandas as pd
from absl import logging
from ml_collections import ConfigDict

from alcurr.core import cpu, files, lock, paths
from alcurr.core.errors import UserError
from alcurr.data.pool import on_device
from alcurr.experiments import (
  loggers,
  preemption,
  reference_model,
  sampler_run,
  setup,
)
from alcurr.experiments.config import build
from alcurr.experiments.config.build import BuiltExperiment
from alcurr.experiments.sampler_run import ExperimentContext, PreparedRun
from alcurr.experiments.workdir import check_workdir
from alcurr.report import gallery, page, tables
from alcurr.training import checkpoint_writer, compilation, memory
from alcurr.types import Pool


def run(
  config: ConfigDict,
  workdir: pathlib.Path,
  profile: bool = False,
  signals: preemption.Signals | None = None,
) -> pd.DataFrame:
  """Runs the unfinished samplers of an experiment, and reports all.

  Args:
    config: see alcurr/experiments/config/defaults.py.
    workdir: the experiment's own folder, created if missing.
    profile: whether each run writes where the time of its steps goes, in the
      folder `profile` of its own.
    signals: stop a run with a checkpoint.

  Returns:
    The summary, a row per sampler.

  Raises:
    UserError: a mistake in the config, the data or the workdir, or a run that
      needs more memory than the device has.
    Stopped: by a signal, while a run was trained.
  """
  compilation.find_devices()
  experiment = build.build_experiment(config)
  loggers.check(config.tracking, config.tracking_uri)
  check_workdir(workdir, config)
  tracked = loggers.Experiment(
    workdir, files.plain(config.to_dict()), config.tracking_uri
  )
  group = loggers.LoggerGroup(tracked, loggers.parse(config.tracking))
  with lock.locked(workdir), group as logger:
    # Another process may have used the folder until now.
    check_workdir(workdir, config)
    signals = signals or preemption.Signals()
    return _run(experiment, workdir, profile, signals, logger)


def _run(
  experiment: BuiltExperiment,
  workdir: pathlib.Path,
  profile: bool,
  signals: preemption.Signals,
  logger: loggers.LoggerGroup,
) -> pd.DataFrame:
  config = experiment.config
  files.remove_temporary(workdir)
  cache_dir = build.cache_dir(config, workdir)
  paths.check_can_make(cache_dir, "--config.cache_dir")
  context = setup.load_context(experiment, cache_dir)
  unscored = setup.host_pools(context)
  setup.check_fit(context, unscored)
  folders = {name: workdir / "runs" / name for name in experiment.runs}
  names = [n for n, f in folders.items() if not (f / "result.json").exists()]
  if reference_model.lacks_scores(context, cache_dir):
    names.insert(0, build.REFERENCE)
  prepared = compile_runs(context, unscored, names)
  # Nothing is refused from here on, so the workdir may be written to.
  files.write_json(workdir / "config.json", config.to_dict())
  (workdir / "runs").mkdir(exist_ok=True)
  pools, scoring_seconds = make_pools(
    context, cache_dir, workdir / "difficulty", signals
  )
  class_names = context.parts["train"].class_names
  gallery.write_gallery(workdir, pools["train"], context.gather, class_names)
  for name, folder in folders.items():
    if name in prepared:
      sampler_run.run_sampler(
        context,
        prepared.pop(name),
        pools,
        scoring_seconds,
        folder,
        signals,
        logger,
        profile,
      )
    else:
      logging.info(
        "%s: already finished%s.", name, "; not profiled" if profile else ""
      )
      # A killed process may not have sent the last rows.
      logger.replay(name)
  summary = tables.write_tables(workdir)
  page.write_report([workdir], workdir / "report.html")
  logger.report()
  return summary


def compile_runs(
  context: ExperimentContext, pools: dict[str, Pool], names: list[str]
) -> dict[str, PreparedRun]:
  """Compiles runs in parallel, and checks that the device can hold each.

  The `compile_seconds` of a run are its share of the time that all took. The
  pools are on the host, not scored; a name is a sampler's or REFERENCE.

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
    available = memory.describe_bytes(free)
    logging.info(
      "%s: needs about %s; %s are free.", name, needed.describe(), available
    )
    if not memory.fits(needed, free):
      raise UserError(
        "memory",
        "difficulty" if name == build.REFERENCE else f"samplers.{name}",
        f"the run needs about {needed.describe()}, and the device has "
        f"{available} free; try a smaller batch_size, trials_by=map, "
        "data.pool=host or fewer trials",
      )
  return prepared


def _compile(
  context: ExperimentContext, pools: dict[str, Pool], name: str
) -> PreparedRun:
  if name == build.REFERENCE:
    return reference_model.prepare(context)[0]
  return sampler_run.compile_sampler_run(context, name, pools)


def make_pools(
  context: ExperimentContext,
  cache_dir: pathlib.Path,
  checkpoint_dir: pathlib.Path,
  signals: preemption.Signals,
) -> tuple[dict[str, Pool], float]:
  """Scores the pools if a sampler needs it, and puts them on the device.

  Args:
    context: has the data and the networks.
    cache_dir: the folder with the scores.
    checkpoint_dir: the folder of the reference model's checkpoints.
    signals: stop its training.

  Returns:
    The pools by name, and the seconds that scoring took (when it was done).
  """
  score, seconds = {}, 0.0
  if setup.needs_scores(context.experiment):
    score, seconds = reference_model.get_difficulty(
      context, cache_dir, checkpoint_dir, signals
    )
  return on_device(setup.host_pools(context, score)), seconds
