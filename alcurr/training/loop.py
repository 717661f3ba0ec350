"""One run of one sampler, all its trials, from the first step to the last."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from alcurr.training import (
  checkpoint,
  evaluation,
  exposure,
  parallel,
  prefetch,
)
from alcurr.training.checkpoint_writer import CheckpointWriter, copy_state
from alcurr.training.evaluation import Scores
from alcurr.training.exposure import Exposure
from alcurr.training.processes import Exchange
from alcurr.training.run import Chunks, CompiledRun, RunSpec, init_trials
from alcurr.training.step import Metrics
from alcurr.types import Array, Pool, TrainState


class ResumeOptions(NamedTuple):
  """Where a run starts, who writes its checkpoints, and when it stops."""

  start: checkpoint.Checkpoint | None  # to resume from; None for a new run
  checkpoints: CheckpointWriter | None  # None: another process writes
  stop: Callable[[], int | None]  # whether to stop after the current chunk
  exchange: Exchange | None = None  # with other processes, if there are any


class Result(NamedTuple):
  state: TrainState  # [S]
  train_seconds: float  # of one trial: the chunks' time over S
  steps: int  # made; fewer than planned if all trials diverged
  exposure: Exposure


def abstract_run_state(
  run: RunSpec, compiled: CompiledRun, pool: Pool
) -> checkpoint.RunState:
  """Returns the run state before the first step, its train state as shapes."""
  seen = exposure.init_exposure(len(run.seeds), pool.label.shape[0])
  return checkpoint.RunState(compiled.state, seen)


def _first_checkpoint(
  run: RunSpec, compiled: CompiledRun, pool: Pool
) -> checkpoint.Checkpoint:
  """Returns a new run before its first step."""
  empty = abstract_run_state(run, compiled, pool)
  run_state = empty._replace(state=init_trials(run, parallel.local(pool)))
  return checkpoint.Checkpoint(0, run_state, 0.0, None, len(run.seeds))


class _PendingChunk(NamedTuple):
  """A chunk submitted to the device."""

  length: int  # in steps
  submitted: float  # clock time
  ready: float | None  # clock time, if it has been waited for
  metrics: Metrics  # [S, T, ...]
  scores: Scores | None  # [S, N], if an evaluation was due
  state: TrainState | None = None  # [S] after it, if it may be saved
  report: Array | None = None  # to the other processes


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
  no row from that chunk on. The run ends early if all trials have diverged.

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
  start = (resume and resume.start) or _first_checkpoint(run, compiled, pool)
  recorder = _ChunkRecorder(
    run, compiled.chunks, valid, write, progress, resume, start
  )
  state = start.run_state.state
  if run.mesh:
    state = parallel.put(run.mesh, state, parallel.BY_TRIAL)
  chunks, lengths = compiled.chunks, compiled.chunks.lengths
  first = np.cumsum([0, *lengths]).tolist().index(start.step)
  pool_of_chunk = prefetch.chunk_pools(
    chunks.prefetch, state, lengths[first:], pool, run.mesh
  )
  last, stopped = None, False
  recorder.receive(recorder.send(state, first))
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
    steps = np.int32(length)
    if watched:
      jax.block_until_ready((state, steps))
    with watch(length) if watched else contextlib.nullcontext():
      submitted, ready = time.perf_counter(), None
      state, metrics = chunks.program(state, steps, next(pool_of_chunk), probe)
      if watched:
        jax.block_until_ready((state, metrics))
        ready = time.perf_counter()
    scores = None
    if chunks.is_evaluated(number):
      scores = compiled.score((state.params, state.model_state), valid)
    report = recorder.send(state, number)
    if last:
      recorder.finish(last)
    last = _PendingChunk(
      length, submitted, ready, metrics, scores, report=report
    )
    if not recorder.done.active_trials:
      # The chunk just submitted belongs to trials that have all diverged.
      last = None
      break
  if last:
    recorder.finish(last._replace(state=state), last=True)
  step, (_, seen), seconds, *_ = recorder.done
  seconds /= len(run.seeds)
  return None if stopped else Result(state, seconds, step, seen)


@dataclasses.dataclass
class _ChunkRecorder:
  """Writes, counts and saves the results of finished chunks; see `train`."""

  run: RunSpec
  chunks: Chunks
  valid: Pool
  write: Callable[[dict[str, Any]], None]
  progress: Callable[[int, str], None]
  resume: ResumeOptions | None
  done: checkpoint.Checkpoint  # after the last finished chunk
  idle_since: float = 0.0  # clock time since which the device had no chunk

  def should_save(self, chunk: _PendingChunk) -> bool:
    """Returns whether the state after a chunk is to be saved."""
    if self.resume is None:
      return False
    if self.resume.exchange:
      return self.resume.exchange.save
    return self.resume.checkpoints.should_save(
      self.done.step + chunk.length, chunk.scores is not None
    )

  def send(self, state: TrainState, number: int) -> Array | None:
    """Reports to the other processes, after a number of chunks."""
    if not (self.resume and self.resume.exchange):
      return None
    lengths, writer, save = self.chunks.lengths, self.resume.checkpoints, False
    if writer and number < len(lengths):
      after = sum(lengths[: number + 1])
      save = writer.should_save(after, self.chunks.is_evaluated(number + 1))
    return self.resume.exchange.send(state, save)

  def receive(self, report: Array | None) -> None:
    """Waits for the other processes' reports."""
    if report is not None:
      self.resume.exchange.receive(report)

  def finish(self, chunk: _PendingChunk, last: bool = False) -> None:
    """Waits for a chunk's results, then writes and saves them."""
    run, trials = self.run, len(self.run.seeds)
    steps_done, (_, before), seconds, *_ = self.done
    metrics = jax.device_get(chunk.metrics)  # the chunk's one transfer
    self.receive(chunk.report)
    ready = chunk.ready or time.perf_counter()
    # From when the device was free for it: evaluations are not training.
    seconds += ready - max(chunk.submitted, self.idle_since)
    scores = jax.device_get(chunk.scores)
    self.idle_since = time.perf_counter()
    metrics = jax.tree.map(lambda x: x[:, : chunk.length], metrics)
    seen = exposure.add(before, metrics, steps_done, run)
    steps_done += chunk.length
    self._warn(before, seen)
    active = exposure.active_trials(seen)
    position = {
      "step": steps_done,
      "examples_seen": steps_done * run.batch_size,
      "train_seconds": seconds / trials,
    }
    rows = [
      position | self._row(metrics, scores, seen, trial) for trial in active
    ]
    for row in rows:
      self.write(row)
    loss = metrics.loss[active, -1].mean() if active else np.nan
    self.progress(chunk.length * run.batch_size * trials, f"loss {loss:.3f}")
    valid = [
      evaluation.selection_metric(row["valid"]) for row in rows if scores
    ]
    self.done = checkpoint.Checkpoint(
      steps_done,
      checkpoint.RunState((), seen),
      seconds,
      float(np.mean(valid)) if valid else None,
      len(active),
    )
    # If all trials have diverged, the last good checkpoint stays the latest.
    if self.resume and chunk.state is not None and active:
      # The next chunk is counted in the same array.
      copied = seen._replace(count=seen.count.copy())
      state = chunk.state
      if self.resume.exchange:
        state = parallel.on_host(state)
      if self.resume.checkpoints:
        run_state = checkpoint.RunState(state, copied)
        self.resume.checkpoints.save(
          self.done._replace(run_state=run_state), last
        )

  def _warn(self, before: Exposure, after: Exposure) -> None:
    """Logs the trials that diverged, skipped updates or ignored gains."""
    remaining = exposure.active_trials(after)
    for trial in sorted(set(exposure.active_trials(before)) - set(remaining)):
      logging.warning(
        "%s %d of %d trials continue.",
        exposure.describe_divergence(after, trial, self.run.name),
        len(remaining),
        len(self.run.seeds),
      )
    for name, text in (
      ("skipped", "skips updates"),
      ("ignored", "ignores gains"),
    ):
      old, new = getattr(before, name), getattr(after, name)
      for trial in np.flatnonzero((old == 0) & (new > 0)):
        logging.warning(
          "%s: trial %d %s that are not finite: %d so far.",
          self.run.name,
          trial,
          text,
          new[trial],
        )

  def _row(
    self, metrics: Metrics, scores: Scores | None, seen: Exposure, trial: int
  ) -> dict[str, Any]:
    """Returns a trial's row for a chunk: means of its metrics [S, T, ...].

    Losses and gains are averaged over the updates that were made; the loss is
    NaN if there was none. The evaluation is added if there was one.
    """
    updated = metrics.violation[trial] == 0
    loss = metrics.loss[trial][updated]
    measured = updated & (metrics.num_gains[trial] > 0)
    row = {"trial": trial, "train_loss": loss.mean() if len(loss) else np.nan}
    if metrics.policy is not None:
      row["policy"] = metrics.policy[trial].mean(0)
    if measured.any():
      row["gain"] = metrics.gain[trial][measured].mean()
    row |= exposure.trial_metrics(seen, trial)
    if scores:
      trial_scores = jax.tree.map(lambda x: x[trial], scores)
      row["valid"] = evaluation.report(trial_scores, self.valid)
    return row
