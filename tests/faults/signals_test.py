"""SIGTERM and SIGINT: the chunk is finished, and a sentence says what to do."""

import signal
import time

import pytest
import victim

pytestmark = pytest.mark.faults

STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130}
BOTH = pytest.mark.parametrize("number", STATUS, ids=lambda n: n.name)


@BOTH
def test_in_training_it_saves_a_checkpoint(number, account, place):
  outcome = account(f"{number.name} while training")
  started = victim.Victim(place)
  started.wait_for(lambda: len(victim.rows(place.workdir, "bandit")) > 6)
  started.send(number)
  ended = started.end()
  outcome.refuses(ended, STATUS[number], "same command")
  # Where it stopped, although none was due.
  last = victim.rows(place.workdir, "bandit")[-1]["step"]
  assert max(victim.checkpoints(place.workdir, "bandit")) == last
  outcome.resumes(place)


@BOTH
@pytest.mark.parametrize(
  "moment", ["jax .* on ", "difficulty: needs", "difficulty: .*[05]0%"]
)
def test_before_training_it_quits(number, moment, account, place):
  outcome = account(f"{number.name} before training")
  started = victim.Victim(place)
  started.wait_for(moment)
  started.send(number)
  outcome.refuses(started.end(), STATUS[number], "same command")
  outcome.resumes(place)


@BOTH
def test_a_second_one_quits_at_once(number, account, place):
  """Even if the first waits for a disk that hangs."""
  outcome = account(f"{number.name} twice")
  started = victim.Victim(place, "stall os.rename bandit/checkpoints 2")
  started.wait_for("fault: stall")
  started.send(number)
  started.wait_for(f"{number.name}: stopping")
  time.sleep(1.1)  # within a second both are one
  started.send(number)
  ended = started.end()
  ended.expect(STATUS[number])
  outcome.resumes(place)
