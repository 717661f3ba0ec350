"""One run of one sampler, all its trials, from top to bottom."""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from alcurr import checkpoint, evaluate, keeping, step, tally
from alcurr.plans import Plan, Run, init_trials, pool_of_each
from alcurr.types import Pool, TrainState


class Keep(NamedTuple):
  """How a run outlives its process."""

  start: checkpoint.Saved | None  # what it goes on from
  checkpoints: keeping.Checkpoints
  stop: Callable[[], bool]  # whether to leave off after the chunk in flight


class Result(NamedTuple):
  state: TrainState  # [S]
  train_seconds: float  # of one trial: the chunks' time over S
  steps: int  # that were made: fewer than planned where all trials went wrong
  tally: tally.Tally


def kept_at_first(run: Run, plan: Plan, pool: Pool) -> checkpoint.Kept:
  """What a run keeps, before its first step; of its state the shapes.

  Args:
    run: with S trials.
    plan: of this run.
    pool: that it trains on.
  """
  so_far = tally.start(len(run.seeds), pool.label.shape[0])
  return checkpoint.Kept(plan.state, so_far)


class _Given(NamedTuple):
  """A chunk that the device has been given, its results still to come."""

  length: int
  asked: float  # when
  ready: float | None  # when, if it has been waited for
  metrics: step.Metrics  # [S, T, ...]
  scores: evaluate.Scores | None  # [S, N], where an evaluation was due
  state: TrainState | None = None  # [S] after it, where it may be kept


def train(
  run: Run,
  plan: Plan,
  pools: Mapping[str, Pool],
  write: Callable[[dict[str, Any]], None],
  progress: Callable[[int, str], None],
  watch: Callable[[int], contextlib.AbstractContextManager] | None = None,
  keep: Keep | None = None,
) -> Result | None:
  """Trains every trial of a run.

  The device is given each chunk before the results of the last are read, so
  that it never waits for the host to write them down. A trial that went wrong
  is out: it has no row from the chunk in which it did, and the others go on.
  Where all are out the run ends.

  Args:
    run: what to train and how.
    plan: of this run.
    pools: "train", "probe" for the samplers' signals, "valid" for the
      evaluations.
    write: takes a row of metrics for each chunk and trial.
    progress: takes the examples seen since the last call, over all trials,
      and a word on how it goes.
    watch: takes the steps of one chunk, the second or the only one here, and
      makes a context that holds it alone: the device is idle before and after.
      The time counts from when the chunk is asked for to when it is ready.
    keep: where to begin, and what becomes of the states on the way. A state is
      kept when its chunk's rows are written, never before.

  Returns:
    The final state of all trials, the time, and what its steps came to; None
    where it was to stop, and what was done is kept.

  Raises:
    FaultError: a law of `laws` was broken.
  """
  pool, probe, valid = pools["train"], pools["probe"], pools["valid"]
  if keep and keep.start:
    done, (state, so_far), seconds, *_ = keep.start
  else:
    done, state, seconds = 0, init_trials(run, pool), 0.0
    so_far = tally.start(len(run.seeds), pool.label.shape[0])
  course = _Course(run, valid, write, progress, keep, done, seconds, so_far)
  lengths = plan.chunks.lengths
  first = np.cumsum([0, *lengths]).tolist().index(done)
  pool_of = pool_of_each(plan.chunks, state, pool, first)
  last, stopped = None, False
  for number, length in list(enumerate(lengths, start=1))[first:]:
    stopped = keep is not None and keep.stop()
    if stopped:
      break
    if last and course.due(last):
      # The next chunk is given the state itself, and overwrites it.
      last = last._replace(state=keeping.copy(state))
    alone = watch is not None and number == min(first + 2, len(lengths))
    if alone and last:
      course.finish(last)
      last = None
    steps = jnp.int32(length)
    if alone:
      jax.block_until_ready((state, steps))
    with watch(length) if alone else contextlib.nullcontext():
      asked, ready = time.perf_counter(), None
      state, metrics = plan.chunks.program(state, steps, next(pool_of), probe)
      if alone:
        jax.block_until_ready((state, metrics))
        ready = time.perf_counter()
    scores = None
    if number % plan.chunks_per_evaluation == 0 or number == len(lengths):
      scores = plan.score((state.params, state.model_state), valid)
    if last:
      course.finish(last)
    last = _Given(length, asked, ready, metrics, scores)
    if not course.going:
      # What the device has just been given is of trials that are all out.
      last = None
      break
  if last:
    course.finish(last._replace(state=state), last=True)
  return None if stopped else course.result(state)


class _Course:
  """How a run goes: what its finished chunks have come to."""

  def __init__(
    self,
    run: Run,
    valid: Pool,
    write: Callable[[dict[str, Any]], None],
    progress: Callable[[int, str], None],
    keep: Keep | None,
    done: int,
    seconds: float,
    so_far: tally.Tally,
  ):
    """From where it begins: see `train`, and `checkpoint.Saved`."""
    self._run, self._valid, self._keep = run, valid, keep
    self._write, self._progress = write, progress
    self._done, self._seconds, self._tally = done, seconds, so_far
    self._idle = 0.0  # since when the device has had nothing of it to do

  @property
  def going(self) -> list[int]:
    """The trials that are not out."""
    return tally.going(self._tally)

  def due(self, chunk: _Given) -> bool:
    """Whether the state after a chunk is to be kept."""
    return self._keep is not None and self._keep.checkpoints.due(
      self._done + chunk.length, chunk.scores is not None
    )

  def finish(self, chunk: _Given, last: bool = False) -> None:
    """Waits for a chunk's results, and writes and keeps what they are."""
    run, keep, trials = self._run, self._keep, len(self._run.seeds)
    metrics = jax.device_get(chunk.metrics)  # the chunk's one transfer
    ready = chunk.ready or time.perf_counter()
    # From when the device was free for it: evaluations are not training.
    self._seconds += ready - max(chunk.asked, self._idle)
    scores = jax.device_get(chunk.scores)
    self._idle = time.perf_counter()
    metrics = jax.tree.map(lambda x: x[:, : chunk.length], metrics)
    before = self._tally
    self._tally = tally.add(
      *(before, metrics, self._done, run.on_nonfinite, run.name)
    )
    self._done += chunk.length
    _tell(before, self._tally, run)
    going = self.going
    time_and_place = {
      "step": self._done,
      "examples_seen": self._done * run.batch_size,
      "train_seconds": self._seconds / trials,
    }
    rows = [
      time_and_place | _row(metrics, scores, self._tally, self._valid, trial)
      for trial in going
    ]
    for row in rows:
      self._write(row)
    loss = metrics.loss[going, -1].mean() if going else np.nan
    self._progress(chunk.length * run.batch_size * trials, f"loss {loss:.3f}")
    # Where no trial goes on, the last good state is the one to keep.
    if keep and chunk.state is not None and going:
      kept = checkpoint.Kept(chunk.state, tally.copy(self._tally))
      merit = None
      if scores:
        merit = float(np.mean([evaluate.merit(row["valid"]) for row in rows]))
      keep.checkpoints.save(
        *(self._done, kept, self._seconds, merit, len(going), last)
      )

  def result(self, state: TrainState) -> Result:
    """Of the run that ends in this state."""
    seconds = self._seconds / len(self._run.seeds)
    return Result(state, seconds, self._done, self._tally)


def _tell(before: tally.Tally, after: tally.Tally, run: Run) -> None:
  """Warns of what went wrong in a chunk."""
  for trial in tally.newly_wrong(before, after):
    rest = len(tally.going(after))
    logging.warning(
      "%s It is left out; %s.",
      tally.sentence(after, trial, run.name),
      f"{rest} of {len(run.seeds)} trials go on" if rest else "none is left",
    )
  for trial in np.flatnonzero((before.skipped == 0) & (after.skipped > 0)):
    logging.warning(
      "%s: trial %d skips updates whose numbers are not finite: %d so far.",
      *(run.name, trial, after.skipped[trial]),
    )


def _row(
  metrics: step.Metrics,
  scores: evaluate.Scores | None,
  so_far: tally.Tally,
  valid: Pool,
  trial: int,
) -> dict[str, Any]:
  """What a chunk says of a trial, with its evaluation if there was one."""
  row = {"trial": trial}
  row |= _means(metrics, trial)
  row |= tally.of_trial(so_far, trial)
  if scores:
    mine = jax.tree.map(lambda x: x[trial], scores)
    row["valid"] = evaluate.report(mine, valid)
  return row


def _means(metrics: step.Metrics, trial: int) -> dict[str, Any]:
  """A trial's metrics [S, T, ...] as means over the chunk.

  Of losses and gains those of the updates that were made; the loss is NaN
  where none was.
  """
  made = metrics.wrong[trial] == 0
  loss, gain = metrics.loss[trial][made], metrics.gain[trial][made]
  means = {
    "train_loss": loss.mean() if len(loss) else np.nan,
    "policy": metrics.policy[trial].mean(0),
  }
  measured = gain[~np.isnan(gain)]
  if len(measured):
    means["gain"] = measured.mean()
  return means
