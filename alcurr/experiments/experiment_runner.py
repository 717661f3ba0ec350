"""Runs an experiment over all its samplers: check, prepare, train, report.

Everything is checked before anything is trained. A finished run is on disk
before the next one begins.
"""

import contextlib
import functools
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

import pandas as pd
from absl import logging
from ml_collections import ConfigDict

from alcurr.core import environment, files, lock, paths, waiting
from alcurr.core.errors import UserError
from alcurr.data import cache
from alcurr.data.parallel import cores
from alcurr.data.pool import locate, num_outputs, on_device
from alcurr.experiments import (
  charges,
  loggers,
  pool_scores,
  preemption,
  reference_model,
  sampler_trials,
  setup,
)
from alcurr.experiments.config import build
from alcurr.experiments.config.built_run import BuiltRun
from alcurr.experiments.config.scores import names_read
from alcurr.experiments.fits import Fit
from alcurr.experiments.pools import host_pools
from alcurr.report import gallery, page, tables
from alcurr.training import (
  checkpoint,
  checkpoint_writer,
  compilation,
  memory,
  parallel,
  processes,
)
from alcurr.training.run import CompiledRun, RunSpec, compile_run
from alcurr.types import Pool


def run(
  config: ConfigDict,
  workdir: pathlib.Path,
  profile: bool = False,
  signals: preemption.Signals | None = None,
) -> pd.DataFrame | None:
  """Runs the unfinished samplers of an experiment, and reports all.

  Args:
    config: see alcurr/experiments/config/defaults.py.
    workdir: the experiment's own folder, created if missing.
    profile: whether each run writes where the time of its steps goes, in the
      folder `profile` of its own.
    signals: stop a run with a checkpoint.

  Returns:
    The summary, a row per sampler; None if another process writes it.

  Raises:
    UserError: a mistake in the config, the data or the workdir, or a run that
      needs more memory than the device has.
    Stopped: by a signal, while a run was trained.
  """
  compilation.find_devices()
  experiment = build.build_experiment(config)
  mesh = setup.make_mesh(experiment)
  config = experiment.config
  names = loggers.parse(config.tracking, config.tracking_uri, workdir)
  if processes.is_first():
    setup.check_workdir(workdir, config)
  else:
    names = []
  record = setup.make_record(config)
  tracked = loggers.Experiment(workdir, record, config.tracking_uri)
  with (
    _alone_in(workdir, config),
    loggers.LoggerGroup(tracked, names) as logger,
  ):
    cache_dir = build.cache_dir(config, workdir)
    paths.check_can_make(cache_dir, "--config.cache_dir")
    with waiting.announced("Reading data"):
      context = setup.load_context(experiment, cache_dir, signals, mesh)
    return _run(context, workdir, profile, logger)


@contextlib.contextmanager
def _alone_in(workdir: pathlib.Path, config: ConfigDict) -> Iterator[None]:
  """Locks the workdir; of several processes, the first does."""
  if not processes.is_first():
    yield
    return
  with lock.locked(workdir):
    # Another process may have used the folder until now.
    setup.check_workdir(workdir, config)
    files.remove_temporary(workdir, setup.FILES)
    yield


def _run(
  context: setup.ExperimentContext,
  workdir: pathlib.Path,
  profile: bool,
  logger: loggers.LoggerGroup,
) -> pd.DataFrame | None:
  experiment = context.experiment
  unscored = host_pools(context)
  setup.check_fit(context, unscored)
  folders = {name: workdir / "runs" / name for name in experiment.runs}
  first = processes.is_first()

  def look() -> processes.Shared:
    left = [n for n, f in folders.items() if not (f / "result.json").exists()]
    return {}, [left, not left and _has_gallery(workdir)]

  _, (names, is_shown) = processes.from_first(look)
  missing = [] if is_shown else reference_model.missing_fits(context)
  if first:
    _check_resumable(context, workdir, names, missing)
  basis = experiment.config.budget_basis
  costs = None
  if names and basis == "flops":
    with waiting.announced("Counting the FLOPs of scores"):
      costs = charges.count_costs(context)
  compiled = compile_runs(context, unscored, names, missing, costs)
  # Nothing is refused from here on, so the workdir may be written to.
  if first:
    record = setup.make_record(experiment.config)
    files.write_json(workdir / "config.json", record)
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
        num_outputs(train),
      )
  for name, folder in folders.items():
    if name in compiled:
      spec, programs = compiled.pop(name)
      scores = _describe_scores(context, name, made)
      sampler_trials.run_sampler(
        context, spec, programs, pools, scores, folder, logger, profile
      )
    elif first:
      note = "; not profiled" if profile else ""
      logging.info("%s: already finished%s.", name, note)
      # A killed process may not have sent the last rows.
      logger.replay(folder)
  if not first:
    return None
  summary = tables.write_tables(workdir)
  page.write_report([workdir], workdir / "report.html")
  logger.report()
  return summary


def _describe_scores(
  context: setup.ExperimentContext,
  name: str,
  made: reference_model.MadeScores,
) -> dict[str, Any]:
  """Returns the part of a sampler's result.json about the scores it reads."""
  charge = charges.charge_run(context, name, made.costs)
  read = names_read(context.experiment.runs[name].spec)
  return {
    "scoring_seconds": sum(made.seconds.get(score, 0.0) for score in read),
    "scores": {score: charge.flops.get(score) for score in read},
    "scores_flops": sum(charge.flops.values()),
    "scores_shared_by": charge.shared_by,
    "score_files": pool_scores.file_hashes(
      context.experiment, context.parts, read
    ),
  }


def _has_gallery(workdir: pathlib.Path) -> bool:
  """Returns whether an experiment has a gallery that is not damaged."""
  with contextlib.suppress(*cache.UNREADABLE):
    return gallery.read_gallery(workdir) is not None
  return False


def _check_resumable(
  context: setup.ExperimentContext,
  workdir: pathlib.Path,
  names: list[str],
  missing: list[Fit],
) -> None:
  """Refuses a workdir whose runs began with other files or elsewhere.

  Only the named runs and the missing scores will be trained. If there are none,
  the environment does not matter.
  """
  shared = {"data": context.content}
  if names or missing:
    shared["environment"] = environment.current()

  def check(run: BuiltRun, folder: pathlib.Path, saved: Any, **more: Any):
    key = build.network_key(run.config)
    weights = context.networks[key][0].fingerprint
    now = shared | {"weights": weights} | more
    saved = {field: saved.get(field) for field in now}
    if isinstance(saved.get("environment"), dict):
      saved["environment"].pop("date", None)
    checkpoint.check_same(folder, saved, now)

  for name in {fit.score.name for fit in missing}:
    run = context.experiment.scores[name].run
    for folder in (workdir / "scores" / name).glob("*"):
      if manifest := checkpoint.latest_manifest(folder):
        check(run, folder, manifest["fingerprint"] | manifest)
  for name, run in context.experiment.runs.items():
    folder = workdir / "runs" / name
    if name not in names:
      saved = files.read_record(folder / "result.json")
    elif manifest := checkpoint.latest_manifest(folder / "checkpoints"):
      saved = manifest["fingerprint"] | manifest
    else:
      continue
    hashes = pool_scores.file_hashes(
      context.experiment, context.parts, names_read(run.spec)
    )
    check(run, folder, saved, score_files=hashes)


def compile_runs(
  context: setup.ExperimentContext,
  pools: dict[str, Pool],
  names: list[str],
  missing: Sequence[Fit] = (),
  costs: Mapping[str, charges.Cost] | None = None,
) -> dict[str, tuple[RunSpec, CompiledRun]]:
  """Compiles runs in parallel, and checks that the device can hold each.

  The `compile_seconds` of a run are its share of the time that all took.

  Args:
    context: of the experiment.
    pools: on the host, not scored.
    names: of samplers.
    missing: the fits of scores that are to be trained first.
    costs: of the scores, for `charges.make_run`.

  Returns:
    The runs of the samplers by name, with their programs.

  Raises:
    UserError: a run needs more memory than the device has, or its scores cost
      more than its budget.
  """

  def compile_named(name: str | Fit) -> tuple[RunSpec, CompiledRun]:
    if isinstance(name, Fit):
      return reference_model.prepare(context, name)[:2]
    run = charges.make_run(context, name, pools, costs)
    train_on = context.experiment.runs[name].config.train_on
    try:
      return run, compile_run(run, pools | {"train": pools[train_on]})
    except KeyError as error:
      # Of a split that the user gave, which has no groups or difficulties.
      lacking = {*pools["train"].partitions} - {*pools["probe"].partitions}
      if {*error.args} & lacking:
        text = f"reads the partition {error} of the probe split, which has none"
        raise UserError("conflict", f"samplers.{name}", text) from error
      raise

  places = [fit.score.place for fit in missing]
  places += [f"samplers.{name}" for name in names]
  started = time.perf_counter()
  with (
    waiting.announced(f"Compiling {len(places)} programs"),
    futures.ThreadPoolExecutor(cores()) as threads,
  ):
    compiled = list(threads.map(compile_named, [*missing, *names]))
  seconds = time.perf_counter() - started
  total = sum(programs.compile_seconds for _, programs in compiled)
  copies = checkpoint_writer.num_copies(context.experiment.config)
  runs = {}
  # Read after compilation, since programs take host memory too.
  free = memory.free_memory(context.mesh)
  for place, (run, programs) in zip(places, compiled, strict=True):
    share = programs.compile_seconds / total * seconds
    if place.startswith("samplers."):
      runs[run.name] = run, programs._replace(compile_seconds=share)
    needed = memory.estimate(programs, pools, copies, run.mesh)
    available = memory.describe_bytes(free)
    logging.info(
      "%s: needs about %s; %s are free.",
      run.name,
      needed.describe(),
      available,
    )
    if not memory.fits(needed, free):
      raise UserError(
        "memory",
        place,
        f"the run needs about {needed.describe()}, and a device has "
        f"{available} free; try a smaller batch_size, trials_by=map, "
        "data.pool=host or fewer trials",
      )
  return runs


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
