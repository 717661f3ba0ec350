"""One sampler's run within an experiment: compiled, trained and saved."""

import contextlib
import functools
import hashlib
import io
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from tqdm.auto import tqdm
from tqdm.notebook import tqdm_notebook

from alcurr.core import files
from alcurr.data import partitions
from alcurr.data.host_store import Lookup
from alcurr.data.pool import Dataset
from alcurr.experiments import preemption
from alcurr.experiments.config.build import BuiltExperiment, BuiltRun
from alcurr.experiments.loggers import Logger, read_rows
from alcurr.training import (
  checkpoint,
  evaluation,
  exposure,
  invariants,
  loop,
  profiling,
)
from alcurr.training.checkpoint_writer import CheckpointWriter
from alcurr.training.run import (
  CompiledRun,
  RunSpec,
  Score,
  compile_run,
  count_flops,
  score_pool,
)
from alcurr.types import Array, Batch, Model, Pool


class Network(NamedTuple):
  model: Model
  score: Score


class ExperimentContext(NamedTuple):
  """Everything that the runs of an experiment share."""

  experiment: BuiltExperiment
  parts: dict[str, Dataset]  # "train", "probe", "valid", "test"
  gather: Callable[[Pool, Array], Batch]
  networks: dict[str, Network]  # by the text of `config.model`
  lookup: Lookup | None = None  # of pools in CPU memory


class PreparedRun(NamedTuple):
  """A run and its compiled programs."""

  run: RunSpec
  compiled: CompiledRun


def compile_sampler_run(
  context: ExperimentContext, name: str, pools: Mapping[str, Pool]
) -> PreparedRun:
  """Compiles a sampler's run; only the shapes of the pools matter."""
  run = make_run(context, name, pools)
  return PreparedRun(run, compile_run(run, _own_pools(context, name, pools)))


def _own_pools(
  context: ExperimentContext, name: str, pools: Mapping[str, Pool]
) -> dict[str, Pool]:
  """Returns the pools, with the one that a sampler trains on as "train"."""
  train_on = context.experiment.runs[name].config.train_on
  return {**pools, "train": pools[train_on]}


def make_run(
  context: ExperimentContext, name: str, pools: Mapping[str, Pool]
) -> RunSpec:
  """Makes the run of a sampler, with the steps that its budget pays for."""
  built = context.experiment.runs[name]
  # An epoch is one of the training pool, whatever pool a run draws from.
  num_steps = built.num_steps(pools["train"].label.shape[0])
  run = make_run_spec(context, built, num_steps)
  baseline = built.config.baseline
  if context.experiment.config.budget_basis == "flops" and name != baseline:
    base = make_run_spec(context, context.experiment.runs[baseline], num_steps)
    base_cost = count_flops(base, pools) / base.batch_size
    ratio = base_cost / (count_flops(run, pools) / run.batch_size)
    num_steps = max(int(num_steps * ratio), 1)
    run = make_run_spec(context, built, num_steps)
  return run


def make_run_spec(
  context: ExperimentContext, built: BuiltRun, num_steps: int
) -> RunSpec:
  """Makes a run of a number of steps."""
  experiment, config = context.experiment, built.config
  network = context.networks[str(config.model)]
  return RunSpec(
    sampler=built.make_sampler(num_steps),
    model=network.model,
    tx=built.make_optimizer(num_steps),
    gather=context.gather,
    num_steps=num_steps,
    batch_size=config.batch_size,
    seeds=built.seeds,
    trials_by=config.trials_by,
    num_evals=config.num_evals,
    chunk_steps=config.chunk_steps,
    score=network.score,
    on_nonfinite=config.on_nonfinite,
    augment=experiment.augment,
    loss=experiment.loss,
    name=built.name,
    lookup=context.lookup,
  )


@contextlib.contextmanager
def progress_bar(
  run: RunSpec, start: checkpoint.Checkpoint | None = None
) -> Iterator[Callable[[int, str], None]]:
  """Shows a progress bar; without a terminal, logs a line each tenth."""
  if start:
    logging.info(
      "%s: resumes from step %d of %d.", run.name, start.step, run.num_steps
    )
  per_step = run.batch_size * len(run.seeds)
  total = run.num_steps * per_step
  # In a notebook tqdm draws a bar of the notebook's own.
  interactive = sys.stderr.isatty() or issubclass(tqdm, tqdm_notebook)
  with tqdm(
    total=total,
    initial=start.step * per_step if start else 0,
    desc=run.name,
    unit=" examples",
    unit_scale=True,
    # Without a terminal the bar only counts; its text is logged.
    file=None if interactive else io.StringIO(),
  ) as bar:

    def progress(examples: int, text: str) -> None:
      tenth = 10 * bar.n // total
      bar.set_postfix_str(text, refresh=False)
      bar.update(examples)
      if not interactive and 10 * bar.n // total > tenth:
        logging.info("%s", bar)

    yield progress


def fingerprint(
  run: RunSpec, compiled: CompiledRun, pools: Mapping[str, Pool]
) -> dict[str, Any]:
  """Returns what a resumed run must have in common with its checkpoint.

  The workdir's config is compared elsewhere; this is what the data decides.
  """
  content = hashlib.blake2b(digest_size=16)
  for array in (pools["train"].label, pools["train"].scores["difficulty"]):
    content.update(np.asarray(array).tobytes())
  return {
    "steps": run.num_steps,
    "chunk_steps": compiled.chunks.lengths[0],
    "trials_by": run.trials_by,
    "examples": content.hexdigest(),
  }


def run_sampler(
  context: ExperimentContext,
  prepared: PreparedRun,
  pools: Mapping[str, Pool],
  scoring_seconds: float,
  folder: pathlib.Path,
  signals: preemption.Signals,
  logger: Logger,
  profile: bool = False,
) -> None:
  """Trains all trials of a sampler and writes the run's files.

  An interrupted run resumes from its latest checkpoint. The folder is created,
  but not its parents.

  Raises:
    Stopped: by a signal; a checkpoint is saved.
  """
  run, compiled = prepared
  name = run.name
  folder.mkdir(exist_ok=True)
  # Known before training, for figures of a run that is not finished.
  spec = run.sampler.spec._asdict()
  files.write_json(folder / "sampler_spec.json", spec)
  pools = _own_pools(context, name, pools)
  metrics, checkpoint_dir = folder / "metrics.jsonl", folder / "checkpoints"
  common = fingerprint(run, compiled, pools)
  template = loop.abstract_run_state(run, compiled, pools["train"])
  start = checkpoint.restore(checkpoint_dir, template, common, metrics)
  watch = functools.partial(
    profiling.profile, folder / "profile", run, compiled, pools
  )
  settings = context.experiment.config.checkpoint
  with (
    signals.held() as stop,
    files.json_lines(metrics, start and start.log_position) as lines,
    progress_bar(run, start) as progress,
    CheckpointWriter(
      checkpoint_dir, settings, common, lines.log_position
    ) as checkpoints,
  ):
    logger.begin(name, read_rows(metrics))

    def write(row: dict[str, Any]) -> None:
      lines.write(row)
      logger.write(name, row)

    result = loop.train(
      run,
      compiled,
      pools,
      write,
      progress,
      watch if profile else None,
      loop.ResumeOptions(start, checkpoints, stop),
    )
  test = score_pool(run, result.state, pools["test"])
  files.write_file(
    folder / "test.npz",
    lambda file: np.savez_compressed(file, rank=test.rank, loss=test.loss),
  )
  trials = [
    _trial_metrics(result.exposure, trial, test, pools["test"])
    for trial in range(len(run.seeds))
  ]
  baseline = context.experiment.runs[name].config.baseline
  _write_result(prepared, baseline, folder, result, trials, scoring_seconds)
  logger.end(name, files.read_json(folder / "result.json"))


def _write_result(
  prepared: PreparedRun,
  baseline: str,
  folder: pathlib.Path,
  result: loop.Result,
  trials: list[dict[str, Any]],
  scoring_seconds: float,
) -> None:
  """Writes result.json, whose presence says that the run is finished."""
  run, compiled = prepared
  scored = set(run.sampler.spec.partitions) - partitions.UNSCORED
  files.write_json(
    folder / "result.json",
    {
      "sampler": run.name,
      "baseline": baseline,
      "batch_size": run.batch_size,
      "steps": result.steps,
      "examples_seen": result.steps * run.batch_size,
      "train_seconds": result.train_seconds,
      "compile_seconds": compiled.compile_seconds,
      "scoring_seconds": scoring_seconds if scored else 0.0,
      "flops_per_step": compiled.flops_per_step,
      "trials": trials,
      "environment": files.environment(),
    },
  )
  top1 = [trial["top1"] for trial in trials if "top1" in trial]
  logging.info(
    "%s: %s, %.1f s a trial, %.1f s to compile.",
    run.name,
    f"top-1 {np.mean(top1):.4f}" if top1 else "all trials diverged",
    result.train_seconds,
    compiled.compile_seconds,
  )


def _trial_metrics(
  measured: exposure.Exposure, trial: int, test: evaluation.Scores, pool: Pool
) -> dict[str, Any]:
  """Returns a trial's part of result.json; a diverged one has no metrics."""
  if trial not in exposure.active_trials(measured):
    return {
      "diverged_step": int(measured.diverged_step[trial]),
      "divergence_reason": invariants.describe_nonfinite(
        measured.violation[trial]
      ),
    }
  scores = evaluation.Scores(test.rank[trial], test.loss[trial])
  metrics = exposure.trial_metrics(measured, trial)
  return metrics | evaluation.report(scores, pool)
