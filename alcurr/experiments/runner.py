"""Samplers x trials of one config: check, prepare, run, report.

What can be checked is checked before anything is built; what is finished is
on disk before the next run begins.
"""

import pathlib

import pandas as pd
from absl import logging
from ml_collections import ConfigDict

from alcurr.core import files, lock, paths
from alcurr.data import partitions
from alcurr.data.pool import on_device
from alcurr.experiments import (
  loggers,
  precompile,
  preemption,
  reference_model,
  sampler_run,
  setup,
)
from alcurr.experiments.config import build
from alcurr.experiments.loggers import background
from alcurr.experiments.sampler_run import ExperimentContext
from alcurr.experiments.workdir import check_workdir
from alcurr.report import gallery, page, tables
from alcurr.types import Pool


def run(
  config: ConfigDict,
  workdir: pathlib.Path,
  profile: bool = False,
  signals: preemption.Signals | None = None,
) -> pd.DataFrame:
  """Runs an experiment, or what is left of it, and reports it.

  Args:
    config: see alcurr/experiments/config/defaults.py.
    workdir: the experiment's own folder, made if need be.
    profile: each run leaves where the time of its steps goes, in `profile` of
      its folder.
    signals: those that are to stop it.

  Returns:
    The summary, a row per sampler.

  Raises:
    UserError: a mistake in the config, the data or the workdir, or a run that
      the device has no room for.
    Stopped: by a signal, while a run was trained.
  """
  build.check(config)
  check_workdir(workdir, config)
  with lock.locked(workdir), _trackers(config, workdir) as trackers:
    # Another process may have had it until now.
    check_workdir(workdir, config)
    signals = signals or preemption.Signals()
    return _run(config, workdir, profile, signals, trackers)


def _trackers(config: ConfigDict, workdir: pathlib.Path) -> background.Trackers:
  experiment = loggers.Experiment(
    workdir, files.plain(config.to_dict()), config.tracking_uri
  )
  return background.Trackers(experiment, loggers.parse(config.tracking))


def _run(
  config: ConfigDict,
  workdir: pathlib.Path,
  profile: bool,
  signals: preemption.Signals,
  trackers: background.Trackers,
) -> pd.DataFrame:
  files.remove_temporary(workdir)
  cache_dir = build.cache_dir(config, workdir)
  paths.check_can_make(cache_dir, "--config.cache_dir")
  job = setup.load_context(config, cache_dir)
  unscored = setup.host_pools(config, job)
  setup.check_fit(config, job, unscored)
  folders = {name: workdir / "runs" / name for name in config.samplers}
  left = [n for n, f in folders.items() if not (f / "result.json").exists()]
  if reference_model.lacks_scores(config, job, cache_dir):
    left.insert(0, precompile.REFERENCE)
  planned = precompile.compile_runs(config, job, unscored, left, cache_dir)
  # All that can be refused has been: from here on the workdir is its own.
  files.write_json(workdir / "config.json", config.to_dict())
  trackers.start()
  (workdir / "runs").mkdir(exist_ok=True)
  kept = workdir / "difficulty"
  pools, scoring_seconds = make_pools(config, job, cache_dir, kept, signals)
  class_names = job.parts["train"].class_names
  gallery.write_gallery(workdir, pools["train"], job.gather, class_names)
  for name, folder in folders.items():
    if name in planned:
      this = planned.pop(name)
      sampler_run.run_sampler(
        *(config, this, name, pools, scoring_seconds, folder, signals),
        *(trackers, profile),
      )
    else:
      rest = "; nothing is left to profile" if profile else ""
      logging.info("%s: finished before, kept%s.", name, rest)
      # What came last a killed process may not have told.
      trackers.begin(name)
      trackers.end(name)
  summary = tables.write_tables(workdir)
  page.write_report([workdir], workdir / "report.html")
  trackers.report()
  return summary


def make_pools(
  config: ConfigDict,
  job: ExperimentContext,
  cache_dir: pathlib.Path,
  kept: pathlib.Path,
  signals: preemption.Signals,
) -> tuple[dict[str, Pool], float]:
  """Scores the pools if any sampler asks for it, and puts them on the device.

  The arguments are those of `reference.get_difficulty`.

  Returns:
    The pools by name, and the seconds that scoring took (when it was done).
  """
  loss, seconds = {}, 0.0
  if setup.needed_partitions(config) - partitions.UNSCORED:
    loss, seconds = reference_model.get_difficulty(
      config, job, cache_dir, kept, signals
    )
  return on_device(setup.host_pools(config, job, loss)), seconds
