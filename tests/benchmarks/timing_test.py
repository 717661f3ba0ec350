"""Interleaving with an invented clock; workers of known memory."""

import numpy as np
import pytest

from benchmarks import timing

MEGABYTE = 1_000_000


def test_contestants_take_turns():
  """One takes 0.1 s a step; the other 0.5 s, and 1 s from round 2."""
  calls = []

  def quick(steps):
    calls.append(("quick", steps))
    return 0.1 * steps

  def slow(steps):
    calls.append(("slow", steps))
    return (0.5 if len(calls) < 5 else 1.0) * steps

  times = timing.interleave({"quick": quick, "slow": slow}, 3, seconds=1.0)
  turns = [("quick", 10), ("slow", 2)]
  assert calls == [
    ("quick", 1),
    ("slow", 1),
    *turns,
    *turns[::-1],
    *turns,
  ]
  np.testing.assert_allclose(times["quick"], [0.1, 0.1, 0.1])
  np.testing.assert_allclose(times["slow"], [0.5, 1.0, 1.0])


def test_a_step_longer_than_a_turn_is_run_once():
  steps = []
  timing.interleave({"only": lambda k: steps.append(k) or 5.0 * k}, 2, 1.0)
  assert steps == [1, 1, 1]


def test_spread_by_hand():
  assert timing.spread(np.arange(11)[::-1]) == (5, 1, 9)


def test_a_worker_reports_its_facts_and_peak_memory():
  worker = timing.Worker("toy_program", {"behaviour": "works"})
  assert worker.facts == {"behaviour": "works"}
  assert worker.first_step > 0
  assert worker(2) > 0
  assert worker.ask() == 3
  assert 180 <= worker.first_peak / MEGABYTE < 270
  # Without the memory of the first step.
  assert 30 <= worker.stop() / MEGABYTE < 110


@pytest.mark.parametrize(
  ("module", "behaviour", "message"),
  [
    ("toy_program", "raises", "ValueError: too large"),
    ("toy_program", "dies", "its process ended with status 3"),
    ("no_such_program", "works", "ModuleNotFoundError: .*no_such_program"),
  ],
)
def test_a_failing_worker_says_why(module, behaviour, message):
  with pytest.raises(timing.WorkerError, match=message):
    timing.Worker(module, {"behaviour": behaviour})
