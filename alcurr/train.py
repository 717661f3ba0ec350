"""One run of one sampler, all its trials, from top to bottom."""

import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging

from alcurr import (
  checkpoint,
  evaluate,
  keeping,
  prefetch,
  programs,
  step,
  tally,
)
from alcurr.losses import softmax_cross_entropy
from alcurr.types import (
  Array,
  Augment,
  Batch,
  Images,
  Loss,
  Model,
  Pool,
  PyTree,
  Sampler,
  Strokes,
  TrainState,
)

# ((params, model_state) with a leading axis [S], pool) -> Scores [S, N]
Score = Callable[[tuple[PyTree, PyTree], Pool], evaluate.Scores]


class Run(NamedTuple):
  """All that decides a run, but for the data."""

  sampler: Sampler
  model: Model
  tx: optax.GradientTransformation
  gather: Callable[[Pool, Array], Batch]
  num_steps: int
  batch_size: int
  seeds: tuple[int, ...]  # one for each trial
  trials_by: str  # "vmap" or "map"
  evaluations: int  # on the valid pool, evenly over the run
  chunk_steps: int  # most steps between two visits of the host
  score: Score
  on_nonfinite: str = "stop"  # of step.ON_NONFINITE
  augment: Augment | None = None  # of the images that are trained on
  loss: Loss = softmax_cross_entropy  # of each example
  name: str = "the run"  # in what is said of it
  store: Images | Strokes | None = None  # of pools on the host


class Chunks(NamedTuple):
  """A run's steps, cut into chunks of one compiled program."""

  lengths: list[int]  # in steps
  # (state [S], num_steps, pool, probe) -> (state, metrics [S, T])
  program: jax.stages.Compiled
  ahead: prefetch.Prefetch | None  # of a pool on the host, where it can be


class Plan(NamedTuple):
  """A run, compiled."""

  chunks: Chunks
  chunks_per_evaluation: int
  score: jax.stages.Compiled  # of the valid pool
  state: TrainState  # [S], the shapes
  flops_per_step: float  # of one trial, read from the compiled program
  compile_seconds: float


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


def make_steps(run: Run) -> step.Steps:
  """The fused step of a run."""
  return step.make_steps(
    run.model,
    run.tx,
    run.sampler,
    run.gather,
    run.on_nonfinite,
    run.augment,
    run.loss,
  )


def count_flops(run: Run, pools: Mapping[str, Pool]) -> float:
  """FLOPs of a step of one trial of a run, without running it."""
  steps = make_steps(run)
  init = step.make_init(run.model, run.tx, run.sampler)
  state = jax.eval_shape(init, jax.random.key(0), pools["train"])
  return programs.step_flops(steps, state, pools["train"], pools["probe"])


def plan_chunks(
  num_steps: int, evaluations: int, chunk_steps: int, cycle: int = 1
) -> tuple[list[int], int]:
  """Chunk lengths that add up to `num_steps`, and chunks per evaluation.

  All but the last are equal, and whole cycles.
  """
  between = -(-num_steps // evaluations)
  chunks = -(-between // chunk_steps)
  length = -(-between // chunks)
  length = -(-length // cycle) * cycle
  chunks = -(-between // length)
  whole, rest = divmod(num_steps, length)
  return [length] * whole + [rest] * (rest > 0), chunks


def make_score(
  model: Model,
  gather: Callable[[Pool, Array], Batch],
  batch_size: int,
  trials_by: str,
  loss: Loss = softmax_cross_entropy,
) -> Score:
  """Scores of every trial's variables on a pool, to be compiled."""
  return step.over_trials(
    evaluate.make_evaluate(model, gather, batch_size, loss), trials_by
  )


def score_pool(run: Run, state: TrainState, pool: Pool) -> evaluate.Scores:
  """A run's trials on a pool, on the host: [S, N]."""
  variables = (state.params, state.model_state)
  return jax.device_get(
    programs.compile_once(run.score, variables, pool)(variables, pool)
  )


def make_chunks(
  run: Run,
  steps: step.Steps,
  lengths: list[int],
  state: TrainState,
  pools: Mapping[str, Pool],
) -> Chunks:
  """Compiles the steps of a run.

  Args:
    run: what to train and how.
    steps: of this run.
    lengths: of its chunks, in steps.
    state: of all trials, or its shapes.
    pools: "train" and "probe", of arrays or of their shapes.
  """
  pool, most = pools["train"], max(lengths)
  ahead = prefetch.plan(
    *(run.sampler, run.store, most, run.trials_by, state, pool)
  )
  if ahead:
    pool = pool._replace(source=ahead.shapes)
  chunk = step.make_train_chunk(steps, most, run.trials_by)
  program = programs.compile_once(
    chunk, state, jnp.int32(0), pool, pools["probe"], donate=(0,)
  )
  return Chunks(lengths, program, ahead)


def pool_of_each(
  chunks: Chunks, state: TrainState, pool: Pool, first: int = 0
) -> Iterator[Pool]:
  """What each chunk from the first on is to be given to draw from.

  Args:
    chunks: of a run.
    state: [S], of which they begin; it may be given away after the first pool
      is taken.
    pool: that the run trains on.
    first: the place of the first among all chunks.
  """
  if chunks.ahead:
    return prefetch.pools(chunks.ahead, state, chunks.lengths[first:], pool)
  return itertools.repeat(pool)


def make_plan(run: Run, pools: Mapping[str, Pool]) -> Plan:
  """Compiles a run; nothing is run.

  Args:
    run: what to train and how.
    pools: "train", "probe" and "valid", of arrays or of their shapes.
  """
  pool, probe = pools["train"], pools["probe"]
  steps = make_steps(run)
  lengths, chunks_per_evaluation = plan_chunks(
    run.num_steps, run.evaluations, run.chunk_steps, steps.cycle
  )
  state = jax.eval_shape(functools.partial(init_trials, run), pool)
  started = time.perf_counter()
  chunks = make_chunks(run, steps, lengths, state, pools)
  variables = (state.params, state.model_state)
  score = programs.compile_once(run.score, variables, pools["valid"])
  compile_seconds = time.perf_counter() - started
  if steps.cycle == 1 and jax.default_backend() == "cpu":
    # A loop's cost is that of one turn, here a step; by vmap of all trials.
    flops = chunks.program.cost_analysis()["flops"]
    flops_per_step = flops / (len(run.seeds) if run.trials_by == "vmap" else 1)
  else:
    init = step.make_init(run.model, run.tx, run.sampler)
    one = jax.eval_shape(init, jax.random.key(0), pool)
    flops_per_step = programs.step_flops(steps, one, pool, probe)
  return Plan(
    chunks,
    chunks_per_evaluation,
    score,
    state,
    flops_per_step,
    compile_seconds,
  )


def init_trials(run: Run, pool: Pool) -> TrainState:
  """All trials of a run at step 0: a state with a leading axis [S]."""
  init = step.make_init(run.model, run.tx, run.sampler)
  keys = jnp.stack([jax.random.key(seed) for seed in run.seeds])
  # Not jitted: its operations are compiled once for all samplers, and an
  # initialisation as one program for each of them took longer than it.
  return jax.vmap(init, (0, None))(keys, pool)


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
  trials = len(run.seeds)
  if keep and keep.start:
    done, (state, so_far), seconds, *_ = keep.start
  else:
    done, state, seconds = 0, init_trials(run, pool), 0.0
    so_far = tally.start(trials, pool.label.shape[0])
  idle = 0.0
  lengths = plan.chunks.lengths
  first = np.cumsum([0, *lengths]).tolist().index(done)
  pool_of = pool_of_each(plan.chunks, state, pool, first)

  def finish(chunk: _Given, last: bool = False) -> None:
    nonlocal done, seconds, idle, so_far
    metrics = jax.device_get(chunk.metrics)  # the chunk's one transfer
    ready = chunk.ready or time.perf_counter()
    # From when the device was free for it: evaluations are not training.
    seconds += ready - max(chunk.asked, idle)
    scores = jax.device_get(chunk.scores)
    idle = time.perf_counter()
    metrics = jax.tree.map(lambda x: x[:, : chunk.length], metrics)
    before = so_far
    so_far = tally.add(before, metrics, done, run.on_nonfinite, run.name)
    done += chunk.length
    _tell(before, so_far, run)
    going = tally.going(so_far)
    time_and_place = {
      "step": done,
      "examples_seen": done * run.batch_size,
      "train_seconds": seconds / trials,
    }
    rows = [
      time_and_place | _row(metrics, scores, so_far, valid, trial)
      for trial in going
    ]
    for row in rows:
      write(row)
    loss = metrics.loss[going, -1].mean() if going else np.nan
    progress(chunk.length * run.batch_size * trials, f"loss {loss:.3f}")
    # Where no trial goes on, the last good state is the one to keep.
    if keep and chunk.state is not None and going:
      kept = checkpoint.Kept(chunk.state, tally.copy(so_far))
      merit = None
      if scores:
        merit = float(np.mean([evaluate.merit(row["valid"]) for row in rows]))
      keep.checkpoints.save(done, kept, seconds, merit, len(going), last)

  last, stopped = None, False
  for number, length in list(enumerate(lengths, start=1))[first:]:
    stopped = keep is not None and keep.stop()
    if stopped:
      break
    if keep and last:
      evaluated = last.scores is not None
      if keep.checkpoints.due(done + last.length, evaluated):
        # The next chunk is given the state itself, and overwrites it.
        last = last._replace(state=keeping.copy(state))
    alone = watch is not None and number == min(first + 2, len(lengths))
    if alone and last:
      finish(last)
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
    due = number % plan.chunks_per_evaluation == 0
    scores = None
    if due or number == len(lengths):
      scores = plan.score((state.params, state.model_state), valid)
    if last:
      finish(last)
    last = _Given(length, asked, ready, metrics, scores)
    if not tally.going(so_far):
      # What the device has just been given is of trials that are all out.
      last = None
      break
  if last:
    finish(last._replace(state=state), last=True)
  return None if stopped else Result(state, seconds / trials, done, so_far)


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
