"""One run of one sampler, all its trials, from the first step to the last."""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from alcurr.training import checkpoint, evaluation, exposure, step
from alcurr.training.checkpoint_writer import CheckpointWriter, copy_state
from alcurr.training.run import CompiledRun, RunSpec, chunk_pools, init_trials
from alcurr.types import Pool, TrainState


class ResumeOptions(NamedTuple):
  """Where a run starts, who writes its checkpoints, and when it stops."""

  start: checkpoint.Checkpoint | None  # to resume from; None for a new run
  checkpoints: CheckpointWriter
  stop: Callable[[], bool]  # whether to stop after the current chunk


class Result(NamedTuple):
  state: TrainState  # [S]
  train_seconds: float  # of one trial: the chunks' time over S
  steps: int  # made; fewer than planned if all trials diverged
  exposure: exposure.Exposure


def abstract_run_state(
  run: RunSpec, compiled: CompiledRun, pool: Pool
) -> checkpoint.RunState:
  """Returns the run state before the first step, its train state as shapes."""
  empty = exposure.init_exposure(len(run.seeds), pool.label.shape[0])
  return checkpoint.RunState(compiled.state, empty)


class _PendingChunk(NamedTuple):
  """A chunk submitted to the device."""

  length: int  # in steps
  submitted: float  # clock time
  ready: float | None  # clock time, if it has been waited for
  metrics: step.Metrics  # [S, T, ...]
  scores: evaluation.Scores | None  # [S, N], if an evaluation was due
  state: TrainState | None = None  # [S] after it, if it may be saved


def train(
  run: RunSpec,
  compiled: CompiledRun,
  pools: Mapping[str, Pool],
  write: Callable[[dict[str, Any]], None],
  progress: Callable[[int, str], None],
  watch: Callable[[int], contextlib.AbstractContextManager] | None = None,
  resume: ResumeOptions | None = None,
) -> Result | None:
  """Trains every trial of a run.

  Each chunk is submitted before the results of the previous one are read, so
  the device never waits for the host to write them. A trial that diverges has
  no row from that chunk on; the others continue. The run ends early if all
  trials have diverged.

  Args:
    run: what to train and how.
    compiled: the programs of this run.
    pools: "train", "probe" for the samplers' signals, and "valid".
    write: receives a row of metrics for each chunk and active trial.
    progress: receives the number of examples trained on since the last call,
      over all trials, and a short text.
    watch: receives the length of one chunk in steps, the second or the only
      one, and returns a context to run that chunk in. The device is idle
      before and after.
    resume: where to start, and where states are saved. A state is saved after
      the rows of its chunk are written, never before.

  Returns:
    The final state of all trials with time and exposure; None if the run was
    asked to stop, with everything up to then saved.

  Raises:
    FaultError: an invariant was violated.
  """
  pool, probe, valid = pools["train"], pools["probe"], pools["valid"]
  start = (resume and resume.start) or _first_checkpoint(run, pool)
  state = start.run_state.state
  recorder = _ChunkRecorder(run, valid, write, progress, resume, start)
  lengths = compiled.chunks.lengths
  first = np.cumsum([0, *lengths]).tolist().index(start.step)
  pool_of_chunk = chunk_pools(compiled.chunks, state, pool, first)
  last, stopped = None, False
  for number, length in list(enumerate(lengths, start=1))[first:]:
    stopped = resume is not None and resume.stop()
    if stopped:
      break
    if last and recorder.should_save(last):
      # The state is donated to the next chunk, which overwrites it.
      last = last._replace(state=copy_state(state))
    watched = watch is not None and number == min(first + 2, len(lengths))
    if watched and last:
      recorder.finish(last)
      last = None
    steps = jnp.int32(length)
    if watched:
      jax.block_until_ready((state, steps))
    with watch(length) if watched else contextlib.nullcontext():
      submitted, ready = time.perf_counter(), None
      state, metrics = compiled.chunks.program(
        state, steps, next(pool_of_chunk), probe
      )
      if watched:
        jax.block_until_ready((state, metrics))
        ready = time.perf_counter()
    scores = None
    if number % compiled.chunks_per_evaluation == 0 or number == len(lengths):
      scores = compiled.score((state.params, state.model_state), valid)
    if last:
      recorder.finish(last)
    last = _PendingChunk(length, submitted, ready, metrics, scores)
    if not recorder.active_trials:
      # The chunk just submitted belongs to trials that have all diverged.
      last = None
      break
  if last:
    recorder.finish(last._replace(state=state), last=True)
  return None if stopped else recorder.result(state)


def _first_checkpoint(run: RunSpec, pool: Pool) -> checkpoint.Checkpoint:
  """Returns a new run before its first step."""
  trials = len(run.seeds)
  seen = exposure.init_exposure(trials, pool.label.shape[0])
  run_state = checkpoint.RunState(init_trials(run, pool), seen)
  return checkpoint.Checkpoint(0, run_state, 0.0, None, trials)


class _ChunkRecorder:
  """Writes, counts and saves the results of finished chunks."""

  def __init__(
    self,
    run: RunSpec,
    valid: Pool,
    write: Callable[[dict[str, Any]], None],
    progress: Callable[[int, str], None],
    resume: ResumeOptions | None,
    start: checkpoint.Checkpoint,
  ):
    """Starts where the run does; for the arguments see `train`."""
    self._run, self._valid, self._resume = run, valid, resume
    self._write, self._progress = write, progress
    self._steps_done, self._seconds = start.step, start.seconds
    self._exposure = start.run_state.exposure
    self._idle_since = 0.0  # clock time since which the device had no chunk

  @property
  def active_trials(self) -> list[int]:
    """The trials that have not diverged."""
    return exposure.active_trials(self._exposure)

  def should_save(self, chunk: _PendingChunk) -> bool:
    """Returns whether the state after a chunk is to be saved."""
    return self._resume is not None and self._resume.checkpoints.should_save(
      self._steps_done + chunk.length, chunk.scores is not None
    )

  def finish(self, chunk: _PendingChunk, last: bool = False) -> None:
    """Waits for a chunk's results, then writes and saves them."""
    run, trials = self._run, len(self._run.seeds)
    metrics = jax.device_get(chunk.metrics)  # the chunk's one transfer
    ready = chunk.ready or time.perf_counter()
    # From when the device was free for it: evaluations are not training.
    self._seconds += ready - max(chunk.submitted, self._idle_since)
    scores = jax.device_get(chunk.scores)
    self._idle_since = time.perf_counter()
    metrics = jax.tree.map(lambda x: x[:, : chunk.length], metrics)
    before = self._exposure
    self._exposure = exposure.add(
      before,
      metrics,
      self._steps_done,
      run.on_nonfinite,
      run.name,
      run.sampler.spec.num_candidates,
    )
    self._steps_done += chunk.length
    _warn(before, self._exposure, run)
    active = self.active_trials
    position = {
      "step": self._steps_done,
      "examples_seen": self._steps_done * run.batch_size,
      "train_seconds": self._seconds / trials,
    }
    rows = [
      position | _row(metrics, scores, self._exposure, self._valid, trial)
      for trial in active
    ]
    for row in rows:
      self._write(row)
    loss = metrics.loss[active, -1].mean() if active else np.nan
    self._progress(chunk.length * run.batch_size * trials, f"loss {loss:.3f}")
    # If all trials have diverged, the last good checkpoint stays the latest.
    if self._resume and chunk.state is not None and active:
      valid = [row["valid"] for row in rows if "valid" in row]
      metric = [evaluation.selection_metric(metrics) for metrics in valid]
      saved = checkpoint.Checkpoint(
        self._steps_done,
        checkpoint.RunState(chunk.state, exposure.copy(self._exposure)),
        self._seconds,
        float(np.mean(metric)) if metric else None,
        len(active),
      )
      self._resume.checkpoints.save(saved, last)

  def result(self, state: TrainState) -> Result:
    """Returns the result of the run that ends in this state."""
    seconds = self._seconds / len(self._run.seeds)
    return Result(state, seconds, self._steps_done, self._exposure)


def _warn(
  before: exposure.Exposure, after: exposure.Exposure, run: RunSpec
) -> None:
  """Logs the trials that diverged or skipped updates in a chunk."""
  for trial in exposure.newly_diverged(before, after):
    remaining = len(exposure.active_trials(after))
    logging.warning(
      "%s %d of %d trials continue.",
      exposure.describe_divergence(after, trial, run.name),
      remaining,
      len(run.seeds),
    )
  for trial in np.flatnonzero((before.skipped == 0) & (after.skipped > 0)):
    logging.warning(
      "%s: trial %d skips updates that are not finite: %d so far.",
      run.name,
      trial,
      after.skipped[trial],
    )


def _row(
  metrics: step.Metrics,
  scores: evaluation.Scores | None,
  seen: exposure.Exposure,
  valid: Pool,
  trial: int,
) -> dict[str, Any]:
  """Returns a trial's row for a chunk: means of its metrics [S, T, ...].

  Losses and gains are averaged over the updates that were made; the loss is
  NaN if there was none. The evaluation is added if there was one.
  """
  updated = metrics.violation[trial] == 0
  loss, gain = metrics.loss[trial][updated], metrics.gain[trial][updated]
  row = {"trial": trial, "train_loss": loss.mean() if len(loss) else np.nan}
  if metrics.policy is not None:
    row["policy"] = metrics.policy[trial].mean(0)
  measured = gain[~np.isnan(gain)]
  if len(measured):
    row["gain"] = measured.mean()
  row |= exposure.trial_metrics(seen, trial)
  if scores:
    trial_scores = jax.tree.map(lambda x: x[trial], scores)
    row["valid"] = evaluation.report(trial_scores, valid)
  return row
