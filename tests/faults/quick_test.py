"""A few faults, one after another, in a minute and a half."""

import signal

import pytest
import victim

pytestmark = pytest.mark.faults


def test_killed_damaged_stopped_and_shared(account, place):
  """Causes four faults in one experiment, whose results stay the same."""
  workdir = place.workdir
  killed = account("SIGKILL while training")
  started = victim.Victim(place)
  started.wait_for(lambda: len(victim.checkpoints(workdir, "bandit")) > 1)
  started.send(signal.SIGKILL)
  started.end()

  flipped = account("a checkpoint's file, one bit flipped in")
  latest = victim.latest(workdir, "bandit")
  largest = max(latest.rglob("*"), key=lambda path: path.stat().st_size)
  victim.flip(largest)

  shared = account("two processes on one workdir")
  first = victim.Victim(place)
  first.wait_for("valid, .* train of")
  first.freeze()
  shared.refuses(victim.run(place), 2, "in use by process")

  stopped = account("SIGTERM while training")
  first.thaw()
  first.wait_for(lambda: len(victim.checkpoints(workdir, "uniform")) > 1)
  assert f"{latest} is damaged" in first.log
  first.send(signal.SIGTERM)
  stopped.refuses(first.end(), 143, "same command")

  victim.run(place).expect(0)
  for outcome in (killed, flipped, shared, stopped):
    outcome.is_equal(workdir)
