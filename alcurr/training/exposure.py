"""Exposure: which examples each trial has scored and trained on so far.

The host updates it after every chunk, together with the trials that diverged.
It consists of arrays, so that it is checkpointed with the state of the run.
"""

from typing import Any, NamedTuple

import numpy as np

from alcurr.core.errors import FaultError
from alcurr.training import invariants, step
from alcurr.training.run import RunSpec

COUNT = np.uint32


class Exposure(NamedTuple):
  """The record of S trials on a pool of N examples, after whole chunks."""

  count: np.ndarray  # [S, N] COUNT, how often each example was trained on
  trained: np.ndarray  # [S] int64, the sum of `count`
  scored: np.ndarray  # [S] int64, candidates that were scored
  seen: np.ndarray  # [S] int64, examples whose count is not zero
  squares: np.ndarray  # [S] int64, the sum of the squares of `count`
  diverged_step: np.ndarray  # [S] int64, counted from 1; 0: it did not
  violation: np.ndarray  # [S] int32, bits of `invariants.Violation` there
  skipped: np.ndarray  # [S] int64, updates that were skipped
  ignored: np.ndarray  # [S] int64, gains that were not finite


def init_exposure(trials: int, num_examples: int) -> Exposure:
  """Returns the exposure before the first step."""
  zeros = np.zeros(trials, np.int64)
  return Exposure(*[zeros] * len(Exposure._fields))._replace(
    count=np.zeros((trials, num_examples), COUNT),
    violation=np.zeros(trials, np.int32),
  )


def add(
  exposure: Exposure, metrics: step.Metrics, steps_done: int, run: RunSpec
) -> Exposure:
  """Returns the exposure after one more chunk.

  A trial that has diverged stays as it is.

  Args:
    exposure: after the chunks before. Its `count`, as large as the pool, is
      changed in place and shared with the result.
    metrics: [S, T, ...] of the chunk, on the host.
    steps_done: before the chunk.
    run: if it skips updates, a trial ends only if its sampler's policy is not
      finite.

  Raises:
    FaultError: a trial that had not diverged violated an invariant.
  """
  skips = run.on_nonfinite == "skip_update"
  fatal = invariants.UNRECOVERABLE if skips else invariants.NOT_FINITE
  exposure = Exposure(exposure.count, *(x.copy() for x in exposure[1:]))
  for trial in active_trials(exposure):
    violation = metrics.violation[trial]
    ends = np.flatnonzero(violation & fatal)
    until_end = violation[: ends[0] + 1] if len(ends) else violation
    broken = np.flatnonzero(until_end & ~invariants.NOT_FINITE)
    if len(broken):
      law = invariants.describe_violation(violation[broken[0]])
      raise FaultError(
        "invariant",
        run.name,
        f"trial {trial} at step {steps_done + broken[0] + 1} violated: {law}; "
        "the run was stopped, since this is a bug, most likely in the sampler",
      )
    if len(ends):
      exposure.diverged_step[trial] = steps_done + ends[0] + 1
      exposure.violation[trial] = violation[ends[0]]
      continue
    updated = violation == 0
    exposure.skipped[trial] += (~updated).sum()
    exposure.ignored[trial] += metrics.num_ignored[trial][updated].sum()
    exposure.scored[trial] += metrics.num_scored[trial].sum()
    index = metrics.index[trial][updated]
    drawn, times = np.unique(index, return_counts=True)
    before = exposure.count[trial, drawn].astype(np.int64)
    exposure.trained[trial] += index.size
    exposure.seen[trial] += (before == 0).sum()
    exposure.squares[trial] += (times * (2 * before + times)).sum()
    exposure.count[trial, drawn] += times.astype(COUNT)
  return exposure


def active_trials(exposure: Exposure) -> list[int]:
  """Returns the trials that have not diverged."""
  return np.flatnonzero(exposure.diverged_step == 0).tolist()


def trial_metrics(exposure: Exposure, trial: int) -> dict[str, Any]:
  """Returns the exposure metrics of an active trial, keyed by output column.

  The effective sample size is (Σ c)² / Σ c², with the counts c (Kish, 1965,
  "Survey Sampling"). It is N after whole passes over the pool. It falls towards
  N / 2 if half of the pool is no longer drawn, even though all has been seen.
  """
  trained, squares = int(exposure.trained[trial]), int(exposure.squares[trial])
  metrics = {
    "coverage": float(exposure.seen[trial] / exposure.count.shape[1]),
    "effective_sample_size": trained**2 / squares if squares else 0.0,
    "skipped_updates": int(exposure.skipped[trial]),
  }
  if exposure.scored[trial]:
    metrics["examples_scored"] = int(exposure.scored[trial])
  if exposure.ignored[trial]:
    metrics["gains_ignored"] = int(exposure.ignored[trial])
  return metrics


def describe_divergence(exposure: Exposure, trial: int, name: str) -> str:
  """Returns a sentence on how a trial diverged."""
  reason = invariants.describe_nonfinite(exposure.violation[trial])
  return (
    f"{name}: trial {trial} diverged at step {exposure.diverged_step[trial]}: "
    f"not finite: {reason}."
  )
