"""One sampler's run within an experiment: made, trained and written down."""

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
from ml_collections import ConfigDict
from tqdm.auto import tqdm
from tqdm.notebook import tqdm_notebook

from alcurr.core import files
from alcurr.data import partitions
from alcurr.data.augment import get_augment
from alcurr.data.host_store import Lookup
from alcurr.data.pool import Dataset
from alcurr.experiments import preemption
from alcurr.experiments.config import build
from alcurr.experiments.loggers.background import Trackers
from alcurr.training import (
  checkpoint,
  evaluation,
  exposure,
  invariants,
  loop,
  profiling,
)
from alcurr.training.checkpoint_writer import CheckpointWriter
from alcurr.training.optimizers import get_optimizer
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
  """What the runs of an experiment share."""

  parts: dict[str, Dataset]  # "train", "probe", "valid", "test"
  gather: Callable[[Pool, Array], Batch]
  networks: dict[str, Network]  # by the text of `config.model`
  trials_by: str
  lookup: Lookup | None = None  # of pools on the host


class PreparedRun(NamedTuple):
  """A run and its compiled programs."""

  run: RunSpec
  plan: CompiledRun


def compile_sampler_run(
  config: ConfigDict,
  job: ExperimentContext,
  name: str,
  pools: Mapping[str, Pool],
) -> PreparedRun:
  """Makes and compiles a sampler's run; of the pools only shapes are read."""
  this = make_run(config, job, name, pools)
  plan = compile_run(this, _pools_of(config, name, pools))
  return PreparedRun(this, plan)


def _pools_of(
  config: ConfigDict, name: str, pools: Mapping[str, Pool]
) -> dict[str, Pool]:
  """The pools with what the sampler trains on as "train"."""
  return {**pools, "train": pools[build.of_run(config, name).train_on]}


def make_run(
  config: ConfigDict,
  job: ExperimentContext,
  name: str,
  pools: Mapping[str, Pool],
) -> RunSpec:
  """The run of one of the config's samplers, at its equal share of cost."""
  mine = build.of_run(config, name)
  # An epoch is one of the training pool, whatever pool a run draws from.
  size = pools["train"].label.shape[0]
  steps = build.num_steps(mine.budget, mine.batch_size, size)
  this = _make_run(config, job, name, steps)
  if config.budget_basis == "flops" and name != mine.baseline:
    base = _make_run(config, job, mine.baseline, steps)
    ratio = _flops_per_example(base, pools) / _flops_per_example(this, pools)
    this = _make_run(config, job, name, max(int(steps * ratio), 1))
  return this


def _flops_per_example(this: RunSpec, pools: Mapping[str, Pool]) -> float:
  return count_flops(this, pools) / this.batch_size


def _make_run(
  config: ConfigDict, job: ExperimentContext, name: str, steps: int
) -> RunSpec:
  """The run of one of the config's samplers, of so many steps."""
  mine = build.of_run(config, name)
  network = job.networks[str(mine.model)]
  return RunSpec(
    sampler=build.make_sampler(config, name, steps),
    model=network.model,
    tx=get_optimizer(mine.optimizer, steps),
    gather=job.gather,
    num_steps=steps,
    batch_size=mine.batch_size,
    seeds=build.seeds(config),
    trials_by=job.trials_by,
    num_evals=config.num_evals,
    chunk_steps=config.chunk_steps,
    score=network.score,
    on_nonfinite=config.on_nonfinite,
    augment=get_augment(config.augment, "augment"),
    loss=build.make_loss(config),
    name=name,
    lookup=job.lookup,
  )


@contextlib.contextmanager
def progress_bar(
  name: str, this: RunSpec, start: checkpoint.Checkpoint | None = None
) -> Iterator[Callable[[int, str], None]]:
  """A bar with rate and time left; a line each tenth where no one watches."""
  if start:
    logging.info(
      "%s: goes on from step %d of %d.", name, start.step, this.num_steps
    )
  per_step = this.batch_size * len(this.seeds)
  total = this.num_steps * per_step
  # In a notebook tqdm draws a bar of the notebook's own.
  watched = sys.stderr.isatty() or issubclass(tqdm, tqdm_notebook)
  with tqdm(
    total=total,
    initial=start.step * per_step if start else 0,
    desc=name,
    unit=" examples",
    unit_scale=True,
    # Where no one watches the bar counts and its text goes to the log.
    file=None if watched else io.StringIO(),
  ) as bar:

    def progress(examples: int, text: str) -> None:
      tenth = 10 * bar.n // total
      bar.set_postfix_str(text, refresh=False)
      bar.update(examples)
      if not watched and 10 * bar.n // total > tenth:
        logging.info("%s", bar)

    yield progress


def fingerprint(
  this: RunSpec, plan: CompiledRun, pools: Mapping[str, Pool]
) -> dict[str, Any]:
  """What a run that goes on has in common with the one that was cut off.

  What the config says is compared with the workdir's own; these come of the
  data.
  """
  content = hashlib.blake2b(digest_size=16)
  for array in (pools["train"].label, pools["train"].scores["difficulty"]):
    content.update(np.asarray(array).tobytes())
  return {
    "steps": this.num_steps,
    "chunk_steps": plan.chunks.lengths[0],
    "trials_by": this.trials_by,
    "examples": content.hexdigest(),
  }


def run_sampler(
  config: ConfigDict,
  planned: PreparedRun,
  name: str,
  pools: Mapping[str, Pool],
  scoring_seconds: float,
  folder: pathlib.Path,
  signals: preemption.Signals,
  trackers: Trackers,
  profile: bool = False,
) -> None:
  """Trains all trials of a sampler and leaves the run's files in a folder.

  A run that was cut off goes on from its last checkpoint. The folder is made
  if need be, not those above it.

  Raises:
    Stopped: a signal came, and what was trained is kept.
  """
  folder.mkdir(exist_ok=True)
  this, plan = planned
  pools = _pools_of(config, name, pools)
  metrics, kept = folder / "metrics.jsonl", folder / "checkpoints"
  common = fingerprint(this, plan, pools)
  template = loop.abstract_run_state(this, plan, pools["train"])
  start = checkpoint.restore(kept, template, common, metrics)
  watch = None
  if profile:
    watch = functools.partial(
      profiling.profile, folder / "profile", this, plan, pools
    )
  with (
    signals.held() as stop,
    files.json_lines(metrics, start and start.log_position) as lines,
    progress_bar(name, this, start) as progress,
    CheckpointWriter(
      kept, config.checkpoint, common, lines.log_position
    ) as checkpoints,
  ):
    trackers.begin(name, start.log_position.bytes if start else 0)

    def write(row: dict[str, Any]) -> None:
      lines.write(row)
      trackers.write(name, row)

    result = loop.train(
      *(this, plan, pools, write, progress, watch),
      loop.ResumeOptions(start, checkpoints, stop),
    )
  test = score_pool(this, result.state, pools["test"])
  files.write_file(
    folder / "test.npz",
    lambda file: np.savez_compressed(file, rank=test.rank, loss=test.loss),
  )
  trials = [
    _trial(result.exposure, trial, test, pools["test"])
    for trial in range(len(this.seeds))
  ]
  scored = set(this.sampler.spec.partitions) - partitions.UNSCORED
  files.write_json(
    folder / "result.json",
    {
      "sampler": name,
      "sampler_spec": this.sampler.spec._asdict(),
      "baseline": build.of_run(config, name).baseline,
      "batch_size": this.batch_size,
      "steps": result.steps,
      "examples_seen": result.steps * this.batch_size,
      "train_seconds": result.train_seconds,
      "compile_seconds": plan.compile_seconds,
      "scoring_seconds": scoring_seconds if scored else 0.0,
      "flops_per_step": plan.flops_per_step,
      "trials": trials,
      "environment": files.environment(),
    },
  )
  trackers.end(name)
  top1 = [trial["top1"] for trial in trials if "top1" in trial]
  logging.info(
    "%s: %s, %.1f s a trial, %.1f s to compile.",
    name,
    f"top-1 {np.mean(top1):.4f}" if top1 else "all trials went wrong",
    result.train_seconds,
    plan.compile_seconds,
  )


def _trial(
  of_run: exposure.Exposure, trial: int, test: evaluation.Scores, pool: Pool
) -> dict[str, Any]:
  """A trial's part of result.json; one that went wrong has no accuracies."""
  if trial not in exposure.active_trials(of_run):
    return {
      "diverged_step": int(of_run.diverged_step[trial]),
      "divergence_reason": invariants.describe_nonfinite(of_run.wrong[trial]),
    }
  scores = evaluation.Scores(test.rank[trial], test.loss[trial])
  return exposure.trial_metrics(of_run, trial) | evaluation.report(scores, pool)
