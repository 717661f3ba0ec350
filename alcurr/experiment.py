"""Samplers x trials of one config: check, prepare, run, report.

What can be checked is checked before anything is built; what is finished is
on disk before the next run begins.
"""

import pathlib

import pandas as pd
from absl import logging
from ml_collections import ConfigDict

from alcurr import (
  jobs,
  lock,
  planning,
  reference,
  runs,
  settings,
  stopping,
  tracking,
  workdirs,
  writer,
)
from alcurr.data.pool import on_device
from alcurr.difficulty import arms
from alcurr.report import gallery, page, tables
from alcurr.runs import Job
from alcurr.tracking import beside
from alcurr.types import Pool


def run(
  config: ConfigDict,
  workdir: pathlib.Path,
  profile: bool = False,
  signals: stopping.Signals | None = None,
) -> pd.DataFrame:
  """Runs an experiment, or what is left of it, and reports it.

  Args:
    config: see alcurr/defaults.py.
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
  settings.check(config)
  workdirs.check_workdir(workdir, config)
  with lock.locked(workdir), _trackers(config, workdir) as trackers:
    # Another process may have had it until now.
    workdirs.check_workdir(workdir, config)
    signals = signals or stopping.Signals()
    return _run(config, workdir, profile, signals, trackers)


def _trackers(config: ConfigDict, workdir: pathlib.Path) -> beside.Trackers:
  experiment = tracking.Experiment(
    workdir, writer.plain(config.to_dict()), config.tracking_uri
  )
  return beside.Trackers(experiment, tracking.parse(config.tracking))


def _run(
  config: ConfigDict,
  workdir: pathlib.Path,
  profile: bool,
  signals: stopping.Signals,
  trackers: beside.Trackers,
) -> pd.DataFrame:
  writer.remove_temporary(workdir)
  cache_dir = settings.cache_dir(config, workdir)
  workdirs.check_can_make(cache_dir, "--config.cache_dir")
  job = jobs.load_job(config, cache_dir)
  unscored = jobs.host_pools(config, job)
  jobs.check_fit(config, job, unscored)
  folders = {name: workdir / "runs" / name for name in config.samplers}
  left = [n for n, f in folders.items() if not (f / "result.json").exists()]
  if reference.lacks_scores(config, job, cache_dir):
    left.insert(0, planning.REFERENCE)
  planned = planning.plan_runs(config, job, unscored, left, cache_dir)
  # All that can be refused has been: from here on the workdir is its own.
  writer.write_json(workdir / "config.json", config.to_dict())
  trackers.start()
  (workdir / "runs").mkdir(exist_ok=True)
  kept = workdir / "difficulty"
  pools, scoring_seconds = make_pools(config, job, cache_dir, kept, signals)
  class_names = job.parts["train"].class_names
  gallery.write_gallery(workdir, pools["train"], job.gather, class_names)
  for name, folder in folders.items():
    if name in planned:
      this = planned.pop(name)
      runs.run_sampler(
        *(config, this, name, pools, scoring_seconds, folder, signals),
        *(trackers, profile),
      )
    else:
      rest = "; nothing is left to profile" if profile else ""
      logging.info("%s: finished before, kept%s.", name, rest)
      # What came last a killed process may not have told.
      trackers.begin(name)
      trackers.end(name)
  summary = tables.write_tables(workdir, config.baseline)
  page.write_report([workdir], workdir / "report.html")
  trackers.report()
  return summary


def make_pools(
  config: ConfigDict,
  job: Job,
  cache_dir: pathlib.Path,
  kept: pathlib.Path,
  signals: stopping.Signals,
) -> tuple[dict[str, Pool], float]:
  """Scores the pools if any sampler asks for it, and puts them on the device.

  The arguments are those of `reference.get_difficulty`.

  Returns:
    The pools by name, and the seconds that scoring took (when it was done).
  """
  loss, seconds = {}, 0.0
  if jobs.partitions(config) - arms.UNSCORED:
    loss, seconds = reference.get_difficulty(
      config, job, cache_dir, kept, signals
    )
  return on_device(jobs.host_pools(config, job, loss)), seconds
