"""What a run's steps have come to, kept on the host chunk by chunk.

How much of the pool each trial has seen, and which trials went wrong. All of
it is arrays, so that it can be kept with the state of the run and go on from
there.
"""

from typing import Any, NamedTuple

import numpy as np

from alcurr import laws, step
from alcurr.errors import FaultError

COUNT = np.uint32


class Tally(NamedTuple):
  """Of S trials on a pool of N examples, after some whole chunks."""

  count: np.ndarray  # [S, N] COUNT, times that each example was trained on
  drawn: np.ndarray  # [S] int64, the sum of `count`
  seen: np.ndarray  # [S] int64, examples whose count is not zero
  squares: np.ndarray  # [S] int64, the sum of the squares of `count`
  wrong_step: np.ndarray  # [S] int64, the step that ended it, from 1; 0: none
  wrong: np.ndarray  # [S] int32, bits of laws.Wrong at that step
  skipped: np.ndarray  # [S] int64, updates that were not made


def start(trials: int, num_examples: int) -> Tally:
  """Before the first step."""
  zeros = np.zeros(trials, np.int64)
  return Tally(
    count=np.zeros((trials, num_examples), COUNT),
    drawn=zeros,
    seen=zeros,
    squares=zeros,
    wrong_step=zeros,
    wrong=np.zeros(trials, np.int32),
    skipped=zeros,
  )


def copy(tally: Tally) -> Tally:
  """One that `add` does not change."""
  return tally._replace(count=tally.count.copy())


def add(
  tally: Tally, metrics: step.Metrics, done: int, on_nonfinite: str, name: str
) -> Tally:
  """The tally with a chunk more; a trial that went wrong stays as it is.

  Args:
    tally: of the chunks before. Its `count`, as large as the pool, is changed
      in place and is the new one's: to keep a tally, copy it.
    metrics: [S, T, ...] of the chunk, on the host.
    done: steps before the chunk.
    on_nonfinite: of step.ON_NONFINITE. With "skip_update" only what skipping
      cannot mend ends a trial.
    name: of the run.

  Raises:
    FaultError: a law was broken in a trial that had not gone wrong before.
  """
  skips = on_nonfinite == "skip_update"
  fatal = laws.BEYOND_REPAIR if skips else laws.NOT_FINITE
  tally = tally._replace(
    **{f: getattr(tally, f).copy() for f in Tally._fields if f != "count"}
  )
  for trial in going(tally):
    wrong = metrics.wrong[trial]
    ends = np.flatnonzero(wrong & fatal)
    before_end = wrong[: ends[0] + 1] if len(ends) else wrong
    broken = np.flatnonzero(before_end & ~laws.NOT_FINITE)
    if len(broken):
      raise FaultError(
        f"{name}: trial {trial} broke a law at step {done + broken[0] + 1}: "
        f"{laws.broken_law(wrong[broken[0]])}; this is a bug, of the sampler "
        "most likely, and the run was stopped."
      )
    if len(ends):
      tally.wrong_step[trial] = done + ends[0] + 1
      tally.wrong[trial] = wrong[ends[0]]
      continue
    made = wrong == 0
    tally.skipped[trial] += (~made).sum()
    _count(tally, trial, metrics.index[trial][made])
  return tally


def _count(tally: Tally, trial: int, index: np.ndarray) -> None:
  """Adds examples that were trained on, some of them more than once."""
  drawn, times = np.unique(index, return_counts=True)
  before = tally.count[trial, drawn].astype(np.int64)
  tally.drawn[trial] += index.size
  tally.seen[trial] += (before == 0).sum()
  tally.squares[trial] += (times * (2 * before + times)).sum()
  tally.count[trial, drawn] += times.astype(COUNT)


def going(tally: Tally) -> list[int]:
  """The trials that have not gone wrong."""
  return np.flatnonzero(tally.wrong_step == 0).tolist()


def newly_wrong(before: Tally, after: Tally) -> list[int]:
  """The trials that went wrong between two tallies.

  Where there is any, the state after has numbers in it that are not finite,
  and the state before is the last good one of that trial.
  """
  return sorted(set(going(before)) - set(going(after)))


def coverage(tally: Tally, trial: int) -> float:
  """The share of the pool's examples that were trained on, in [0, 1]."""
  return float(tally.seen[trial] / tally.count.shape[1])


def effective_sample_size(tally: Tally, trial: int) -> float:
  """Of the examples by how often each was trained on, in [0, N].

  (Σ c)^2 / Σ c^2, c the counts (Kish, 1965, "Survey Sampling", of unequal
  weights): that many examples, each drawn equally often, would be spread as
  widely. N after whole passes over the pool; it sinks towards N / 2 as half
  of the pool is no longer drawn, though all of it has been seen.
  """
  squares = int(tally.squares[trial])
  return int(tally.drawn[trial]) ** 2 / squares if squares else 0.0


def of_trial(tally: Tally, trial: int) -> dict[str, Any]:
  """What is known of a trial that goes on, by its names in the files."""
  return {
    "coverage": coverage(tally, trial),
    "effective_sample_size": effective_sample_size(tally, trial),
    "skipped_updates": int(tally.skipped[trial]),
  }


def sentence(tally: Tally, trial: int, name: str) -> str:
  """How a trial went wrong."""
  return (
    f"{name}: trial {trial} went wrong at step {tally.wrong_step[trial]}: not "
    f"finite: {laws.in_words(tally.wrong[trial])}."
  )
