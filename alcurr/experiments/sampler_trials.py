"""All trials of one sampler, trained with checkpoints, logs and result.json."""

import contextlib
import datetime
import functools
import hashlib
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from absl import logging

from alcurr.core import environment, files
from alcurr.experiments import (
  added_trials,
  loggers,
  pool_scores,
  preemption,
  progress,
  suspects,
)
from alcurr.experiments.added_trials import Block
from alcurr.experiments.config.scores import DIFFICULTY, names_read
from alcurr.experiments.loggers import LoggerGroup, read_rows
from alcurr.experiments.setup import ExperimentContext
from alcurr.report import tables
from alcurr.training import (
  compilation,
  evaluation,
  exposure,
  invariants,
  loop,
  parallel,
  processes,
  profiling,
)
from alcurr.training.checkpoint_writer import CheckpointWriter
from alcurr.training.run import CompiledRun, RunSpec, score_pool
from alcurr.types import Pool, PyTree


def fingerprint(
  content: str, run: RunSpec, compiled: CompiledRun, pools: Mapping[str, Pool]
) -> dict[str, Any]:
  """Returns what a resumed run must have in common with its checkpoint.

  The workdir's config is compared elsewhere; this is what the data decides,
  given the hash of its content, and the code of alcurr, samplers and models.
  """
  pool, prefetch = pools["train"], compiled.chunks.prefetch
  # Each partition has columns of its own among the metrics.
  read = {*run.sampler.spec.scores, *([DIFFICULTY] if pool.partitions else [])}
  hashes = {name: _hash(pool.scores[name]) for name in sorted(read)}
  # The source may be large, and is of the content.
  parts = [(p.label, p.partitions) for p in pools.values()]
  return {
    "steps": run.num_steps,
    "chunk_steps": compiled.chunks.lengths[0],
    "trials_by": run.trials_by,
    "data": content,
    "weights": run.model.fingerprint,
    "scores": hashes,
    "partitions": sorted(pool.partitions),
    "labels and partitions": _hash(parts),
    "compiled program": compilation.digest(
      compiled.chunks.program, compiled.score, prefetch and prefetch.draws
    ),
  }


def _hash(tree: PyTree) -> str:
  content = hashlib.blake2b(digest_size=16)
  for leaf in jax.tree.leaves(tree):
    content.update(np.asarray(leaf).tobytes())
  return content.hexdigest()


def train(
  context: ExperimentContext,
  run: RunSpec,
  compiled: CompiledRun,
  pools: Mapping[str, Pool],
  checkpoints: pathlib.Path,
  metrics: pathlib.Path | None = None,
  logger: LoggerGroup | None = None,
  watch: Callable[[int], contextlib.AbstractContextManager] | None = None,
) -> loop.Result:
  """Trains a run from its latest checkpoint, or from its first step.

  The folder of the checkpoints is created, but not its parents. Rows go to the
  metrics file and to the logger, if they are given. For `watch` see
  `loop.train`.

  Raises:
    Stopped: by a signal; a checkpoint is saved.
  """
  common = fingerprint(context.content, run, compiled, pools)
  own = pool_scores.file_hashes(
    context.experiment, context.parts, names_read(run.sampler.spec)
  )
  common["score_files"] = own
  template = loop.abstract_run_state(run, compiled, pools["train"])
  start = processes.restore(checkpoints, template, common, metrics)
  settings, first = context.experiment.config.checkpoint, processes.is_first()
  log = writer = contextlib.nullcontext()
  if metrics and first:
    log = files.json_lines(metrics, start and start.log_position)
  with (
    context.signals.held() as received,
    log as lines,
    progress.progress_bar(run, start.step if start else 0) as show,
  ):
    if first:
      position = lines.log_position if lines else lambda: None
      writer = CheckpointWriter(checkpoints, settings, common, position)
    if lines:
      logger.begin(run.name, read_rows(metrics))

    def write(row: dict[str, Any]) -> None:
      if lines:
        lines.write(row)
        logger.write(row)

    with writer as checkpoint_writer, _exchange(run, received) as exchange:
      stop = exchange.stop if exchange else received
      resume = loop.ResumeOptions(start, checkpoint_writer, stop, exchange)
      return loop.train(run, compiled, pools, write, show, watch, resume)


@contextlib.contextmanager
def _exchange(
  run: RunSpec, received: Callable[[], int | None]
) -> Iterator[processes.Exchange | None]:
  """Yields the exchange with the other processes, if there are any.

  Raises:
    Stopped: at the end, if one of them received a signal.
  """
  if not processes.are_many():
    yield None
    return
  exchange = processes.Exchange(run.mesh, received)
  yield exchange
  if signal := exchange.stop():
    raise preemption.Stopped(signal)


def run_block(
  context: ExperimentContext,
  run: RunSpec,
  compiled: CompiledRun,
  pools: Mapping[str, Pool],
  scores: Mapping[str, Any],
  workdir: pathlib.Path,
  block: Block,
  logger: LoggerGroup,
  profile: bool = False,
) -> None:
  """Trains the trials of a block, and writes the files of its run.

  Added trials are sent to the trackers when they are finished. `scores` is what
  result.json says of the scores that the sampler reads.

  Raises:
    Stopped: by a signal; a checkpoint is saved.
  """
  folder = block.folder(workdir)
  if not block.first:
    _run(context, run, compiled, pools, scores, folder, logger, profile)
    return
  last = block.first + block.count - 1
  logging.info("%s: adds the trials %d to %d.", run.name, block.first, last)
  tracked = loggers.Experiment(workdir, {})
  with loggers.LoggerGroup(tracked, names=()) as nobody:
    _run(context, run, compiled, pools, scores, folder, nobody, profile)
  if processes.is_first():
    added_trials.join(workdir, block)
    logger.replay(workdir / "runs" / block.sampler)


def _run(
  context: ExperimentContext,
  run: RunSpec,
  compiled: CompiledRun,
  pools: Mapping[str, Pool],
  scores: Mapping[str, Any],
  folder: pathlib.Path,
  logger: LoggerGroup,
  profile: bool,
) -> None:
  """Trains all trials of a run; the folder's parents exist."""
  first = processes.is_first()
  if first:
    files.make_folder(folder)
    sampler = context.experiment.config.samplers[run.name]
    added_trials.write_record(folder, sampler, len(run.seeds))
    # Known before training, for figures of a run that is not finished.
    spec = run.sampler.spec
    files.write_json(folder / "sampler_spec.json", spec._asdict())
  config = context.experiment.runs[run.name].config
  pools = {**pools, "train": pools[config.train_on]}
  joint = ("train", "probe") if "probe" in config.train_on else ("train",)
  parts = {name: context.parts[name] for name in joint}
  metrics, checkpoints = folder / "metrics.jsonl", folder / "checkpoints"
  watch = None
  if profile and first:
    place = folder / "profile"
    watch = functools.partial(profiling.profile, place, run, compiled, pools)
  result = train(
    context, run, compiled, pools, checkpoints, metrics, logger, watch
  )
  test = score_pool(run, result.state, pools["test"])
  sampler_state = parallel.on_host(result.state.sampler_state)
  if not first:
    return
  state = result.state._replace(sampler_state=sampler_state)
  result = result._replace(state=state)
  each = {"loss": test.loss, "label": np.asarray(pools["test"].label)}
  if test.rank is not None:
    each["rank"] = test.rank
  files.write_file(
    folder / "test.npz", lambda file: np.savez_compressed(file, **each)
  )
  trials = [
    _trial_metrics(result.exposure, trial, test, pools["test"])
    for trial in range(len(run.seeds))
  ]
  judged = suspects.write_suspects(
    context, run, result, pools["train"], parts, folder
  )
  today = datetime.date.today().isoformat()
  flops = result.steps * compiled.flops_per_step
  share = scores["scores_flops"] / scores["scores_shared_by"]
  record = {
    "sampler": run.name,
    "baseline": config.baseline,
    "batch_size": run.batch_size,
    "steps": result.steps,
    **_measurements(run, pools["train"], result.steps),
    "examples_seen": result.steps * run.batch_size,
    "train_seconds": result.train_seconds,
    "compile_seconds": compiled.compile_seconds,
    "flops_per_step": compiled.flops_per_step,
    **scores,
    # Of a trial, with its share of the scores.
    "flops": flops + share,
    # The part of those that the run made fewer steps for.
    "charged_flops": share if config.budget_basis == "flops" else 0.0,
    "trials": trials,
    **judged,
    "data": context.content,
    "weights": run.model.fingerprint,
    "environment": environment.current() | {"date": today},
  }
  # Its presence says that the run is finished.
  files.write_json(folder / "result.json", record)
  logging.info(
    "%s: %s, %.1f s a trial, %.1f s to compile.",
    run.name,
    tables.describe_trials(trials),
    result.train_seconds,
    compiled.compile_seconds,
  )
  logger.end(record)


def _measurements(run: RunSpec, pool: Pool, steps: int) -> dict[str, int]:
  """Returns how often a sampler measured, and of how many arms, if of any."""
  signal, arms = run.sampler.signal, run.sampler.spec.arm_partition
  if signal is None or arms is None:
    return {}
  num_arms = pool.partitions[arms].size.shape[0]
  return {"measurements": steps // signal.interval, "arms": num_arms}


def _trial_metrics(
  measured: exposure.Exposure, trial: int, test: evaluation.Scores, pool: Pool
) -> dict[str, Any]:
  """Returns a trial's part of result.json; a diverged one has no metrics."""
  if trial not in exposure.active_trials(measured):
    reason = invariants.describe_nonfinite(measured.violation[trial])
    step = int(measured.diverged_step[trial])
    return {"diverged_step": step, "divergence_reason": reason}
  scores = jax.tree.map(lambda x: x[trial], test)
  metrics = exposure.trial_metrics(measured, trial)
  return metrics | evaluation.report(scores, pool)
