"""Runs an experiment over all its samplers: check, prepare, train, report.

Everything is checked before anything is trained. A finished run is on disk
before the next one begins.
"""

import contextlib
import pathlib
import time
from concurrent import futures

import pandas as pd
from absl import logging
from ml_collections import ConfigDict

from alcurr.core import environment, files, lock, paths
from alcurr.core.errors import UserError
from alcurr.data import cache, parallel
from alcurr.data.pool import on_device
from alcurr.experiments import (
  loggers,
  preemption,
  reference_model,
  sampler_trials,
  setup,
)
from alcurr.experiments.config import build
from alcurr.experiments.pools import host_pools
from alcurr.report import gallery, page, tables
from alcurr.training import checkpoint, checkpoint_writer, compilation, memory
from alcurr.training.run import CompiledRun, RunSpec, compile_run
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
  config = experiment.config
  names = loggers.parse(config.tracking, config.tracking_uri, workdir)
  setup.check_workdir(workdir, config)
  record = setup.make_record(config)
  tracked = loggers.Experiment(workdir, record, config.tracking_uri)
  with lock.locked(workdir), loggers.LoggerGroup(tracked, names) as logger:
    # Another process may have used the folder until now.
    setup.check_workdir(workdir, config)
    files.remove_temporary(workdir, setup.FILES)
    cache_dir = build.cache_dir(config, workdir)
    paths.check_can_make(cache_dir, "--config.cache_dir")
    context = setup.load_context(experiment, cache_dir, signals)
    return _run(context, workdir, profile, logger)


def _run(
  context: setup.ExperimentContext,
  workdir: pathlib.Path,
  profile: bool,
  logger: loggers.LoggerGroup,
) -> pd.DataFrame:
  experiment = context.experiment
  unscored = host_pools(context)
  setup.check_fit(context, unscored)
  folders = {name: workdir / "runs" / name for name in experiment.runs}
  names = [n for n, f in folders.items() if not (f / "result.json").exists()]
  is_shown = not names and _has_gallery(workdir)
  if not is_shown and reference_model.lacks_scores(context):
    names.insert(0, build.REFERENCE)
  _check_resumable(context, workdir, names)
  compiled = compile_runs(context, unscored, names)
  # Nothing is refused from here on, so the workdir may be written to.
  record = setup.make_record(experiment.config)
  files.write_json(workdir / "config.json", record)
  files.make_folder(workdir / "runs")
  if not is_shown:
    pools, seconds = make_pools(context, workdir / "difficulty")
    class_names = context.parts["train"].class_names
    gallery.write_gallery(workdir, pools["train"], context.gather, class_names)
  for name, folder in folders.items():
    if name in compiled:
      spec, programs = compiled.pop(name)
      sampler_trials.run_sampler(
        context, spec, programs, pools, seconds, folder, logger, profile
      )
    else:
      note = "; not profiled" if profile else ""
      logging.info("%s: already finished%s.", name, note)
      # A killed process may not have sent the last rows.
      logger.replay(folder)
  summary = tables.write_tables(workdir)
  page.write_report([workdir], workdir / "report.html")
  logger.report()
  return summary


def _has_gallery(workdir: pathlib.Path) -> bool:
  """Returns whether an experiment has a gallery that is not damaged."""
  with contextlib.suppress(*cache.UNREADABLE):
    return gallery.read_gallery(workdir) is not None
  return False


def _check_resumable(
  context: setup.ExperimentContext, workdir: pathlib.Path, names: list[str]
) -> None:
  """Refuses a workdir whose runs began with other files or elsewhere.

  Only the named runs will be trained. If there are none, the environment does
  not matter.
  """
  now = {"data": context.content}
  if names:
    now["environment"] = environment.current()
  for name in dict.fromkeys((*names, *context.experiment.runs)):
    run = context.experiment.runs.get(name, context.experiment.reference)
    key = build.network_key(run.config)
    now["weights"] = context.networks[key][0].fingerprint
    folder = workdir / "runs" / name
    checkpoints = folder / "checkpoints"
    if name == build.REFERENCE:
      folder = checkpoints = workdir / "difficulty"
    if name not in names:
      saved = files.read_record(folder / "result.json")
    elif manifest := checkpoint.latest_manifest(checkpoints):
      saved = manifest["fingerprint"] | manifest
    else:
      continue
    saved = {field: saved.get(field) for field in now}
    if isinstance(saved.get("environment"), dict):
      saved["environment"].pop("date", None)
    checkpoint.check_same(folder, saved, now)


def compile_runs(
  context: setup.ExperimentContext, pools: dict[str, Pool], names: list[str]
) -> dict[str, tuple[RunSpec, CompiledRun]]:
  """Compiles runs in parallel, and checks that the device can hold each.

  The `compile_seconds` of a run are its share of the time that all took. The
  pools are on the host, not scored; a name is a sampler's or REFERENCE.

  Raises:
    UserError: a run needs more memory than the device has.
  """

  def compile_named(name: str) -> tuple[RunSpec, CompiledRun]:
    if name == build.REFERENCE:
      return reference_model.prepare(context)[:2]
    run = setup.make_run(context, name, pools)
    train_on = context.experiment.runs[name].config.train_on
    return run, compile_run(run, pools | {"train": pools[train_on]})

  started = time.perf_counter()
  with futures.ThreadPoolExecutor(parallel.cores()) as threads:
    compiled = list(threads.map(compile_named, names))
  seconds = time.perf_counter() - started
  total = sum(programs.compile_seconds for _, programs in compiled)
  copies = checkpoint_writer.num_copies(context.experiment.config)
  runs = {}
  # Read after compilation, since programs take host memory too.
  free = memory.free_memory()
  for name, (run, programs) in zip(names, compiled, strict=True):
    share = programs.compile_seconds / total * seconds
    runs[name] = run, programs._replace(compile_seconds=share)
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
  return runs


def make_pools(
  context: setup.ExperimentContext, checkpoint_dir: pathlib.Path
) -> tuple[dict[str, Pool], float]:
  """Scores the pools if a sampler needs it, and puts them on the device.

  Returns the pools by name, and the seconds that scoring took (when it was
  done). `checkpoint_dir` is of the reference model's checkpoints.
  """
  if not setup.needs_scores(context.experiment):
    return on_device(host_pools(context, {})), 0.0
  score, seconds, clusters = reference_model.get_difficulty(
    context, checkpoint_dir
  )
  pools = host_pools(context, score, clusters)
  if clusters:  # whose sizes were not known before
    setup.check_fit(context, pools)
  return on_device(pools), seconds
