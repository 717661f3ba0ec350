"""Measures seconds of training to an accuracy.

Contestants train from scratch and take turns. In a turn, a contestant runs a
fixed number of steps of every trial, and then reports the accuracy of every
trial on the held-out examples. It finishes at the first check where the mean
over trials reaches the threshold. Its seconds count all steps of all trials,
whether trials ran in sequence or in one program. They exclude the checks and
the first step, which compiles. A contestant that trains for longer than the
budget gives up; its seconds are then a lower bound.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np


class Runner(Protocol):
  """A contestant that reports accuracies, such as `timing.Worker`."""

  def __call__(self, steps: int) -> float: ...

  def ask(self) -> list[float]: ...


class Result(NamedTuple):
  """The result of one contestant."""

  seconds: float
  steps: int  # of each trial, except the first step
  accuracy: float  # at the last check, as the mean over trials
  finished: bool

  def text(self) -> str:
    """Returns the seconds, as a lower bound if it gave up."""
    return f"{'' if self.finished else '>'}{self.seconds:.4g}"


def race(
  runners: Mapping[str, Runner],
  *,
  threshold: float,
  steps: int,
  budget: float,
) -> dict[str, Result]:
  """Runs each contestant until it finishes or gives up.

  Args:
    runners: contestants by name; each has run its first step.
    threshold: the accuracy to reach.
    steps: steps of each trial between two checks.
    budget: seconds of training of a contestant.
  """
  results = {name: Result(0.0, 0, 0.0, False) for name in runners}
  running = list(runners)
  while running:
    for name in running:
      before = results[name]
      seconds = before.seconds + runners[name](steps)
      accuracy = float(np.mean(runners[name].ask()))
      results[name] = Result(
        seconds, before.steps + steps, accuracy, accuracy >= threshold
      )
    running = [
      name
      for name in reversed(running)
      if not results[name].finished and results[name].seconds < budget
    ]
  return results


def ratio(theirs: Result, ours: Result) -> str:
  """Returns their seconds over ours; a bound if one of the two gave up."""
  bounds = {(True, True): "", (False, True): ">", (True, False): "<"}
  bound = bounds.get((theirs.finished, ours.finished))
  return "" if bound is None else f"{bound}{theirs.seconds / ours.seconds:.3g}"
