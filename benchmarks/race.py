"""Who reaches an accuracy first: seconds of training, one definition for all.

Contestants train from scratch and take turns, from check to check: each runs a
fixed number of steps of every trial, and then tells the accuracy of every
trial on the held-out examples. It has arrived at the first check where the
mean over trials is the threshold or more. Its seconds are those of all its
steps of all its trials up to there, whether they ran one trial after the other
or in one program; neither the checks nor the first step, which compiles, are
in them. One that has trained for longer than the budget gives up: its seconds
are then a lower bound.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np


class Runner(Protocol):
  """A contestant that can be asked; `benchmarks.timing.Worker` is one."""

  def __call__(self, steps: int) -> float: ...

  def ask(self) -> list[float]: ...


class Result(NamedTuple):
  """Of one contestant."""

  seconds: float
  steps: int  # of each trial, without the first
  accuracy: float  # at the last check, the mean over trials
  arrived: bool

  def text(self) -> str:
    """The seconds, as a lower bound where it gave up."""
    return f"{'' if self.arrived else '>'}{self.seconds:.4g}"


def race(
  runners: Mapping[str, Runner],
  *,
  threshold: float,
  steps: int,
  budget: float,
) -> dict[str, Result]:
  """Runs each contestant until it has arrived or given up.

  Args:
    runners: by name; each has done its first step.
    threshold: of the accuracy.
    steps: of each trial from one check to the next.
    budget: seconds of training.
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
      if not results[name].arrived and results[name].seconds < budget
    ]
  return results


def ratio(theirs: Result, ours: Result) -> str:
  """Their seconds over ours; a bound where one of the two gave up."""
  bounds = {(True, True): "", (False, True): ">", (True, False): "<"}
  bound = bounds.get((theirs.arrived, ours.arrived))
  return "" if bound is None else f"{bound}{theirs.seconds / ours.seconds:.3g}"
