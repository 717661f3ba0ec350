"""SIGKILL at any moment: the same command ends as if nothing had happened."""

import signal
import time

import numpy as np
import pytest
import victim

pytestmark = pytest.mark.faults


@pytest.fixture(scope="session")
def pace(undisturbed, tmp_path_factory):
  """Seconds from when the device is known to the end, all compiled."""
  room = tmp_path_factory.mktemp("pace") / "room"
  started = victim.Victim(victim.Place(room, undisturbed.shared))
  started.wait_for("jax .* on ")
  began = time.monotonic()
  assert started.end().status == 0
  return time.monotonic() - began


TRIES = 20


@pytest.mark.parametrize("number", range(TRIES))
def test_at_a_random_moment(number, pace, account, place):
  """Kills once in each twentieth of a run's time."""
  rng = np.random.default_rng(number)
  outcome = account("SIGKILL at a random moment")
  started = victim.Victim(place)
  started.wait_for("jax .* on ")
  time.sleep(pace * (number + rng.uniform()) / TRIES)
  started.send(signal.SIGKILL)
  started.end()
  outcome.resumes(place)


# Kills just before these events: see at_start/sitecustomize.py.
AIMED = {
  "packing the data": [
    "open quickdraw- 1",
    "open quickdraw- 3",
    "os.rename quickdraw- 1",
  ],
  "saving the scores": ["open scores- 2", "os.rename scores- 1"],
  "starting": ["os.rename config.json 1", "os.rename gallery.npz 1"],
  "writing a checkpoint": [
    "os.mkdir uniform/checkpoints 1",
    "os.mkdir bandit/checkpoints 6",
    "open bandit/checkpoints 4",
    "os.rename bandit/checkpoints 1",
    "os.rename bandit/checkpoints 2",
  ],
  "removing a checkpoint": ["shutil.rmtree bandit/checkpoints 1"],
  "writing a result": [
    "open uniform/.test.npz 1",
    "os.rename uniform/.test.npz 1",
    "open bandit/.result.json 1",
    "os.rename bandit/.result.json 1",
  ],
  "writing the tables": ["open .results.csv 1", "os.rename .report.html 1"],
}


@pytest.mark.parametrize(
  ("moment", "event"),
  [(moment, event) for moment, events in AIMED.items() for event in events],
)
def test_at_an_event(moment, event, account, place):
  outcome = account(f"SIGKILL while {moment}")
  ended = victim.Victim(place, f"kill {event}").end()
  ended.expect(-signal.SIGKILL)
  outcome.resumes(place)


def test_in_the_middle_of_scoring(account, place):
  outcome = account("SIGKILL while training the reference model")
  started = victim.Victim(place)
  started.wait_for("difficulty: +[3-7][0-9]%")
  started.send(signal.SIGKILL)
  started.end()
  outcome.resumes(place)


def test_while_saving_a_compiled_program(undisturbed, account, tmp_path):
  outcome = account("SIGKILL while saving a compiled program")
  (tmp_path / "shared").mkdir()
  (tmp_path / "shared" / "data").symlink_to(undisturbed.shared / "data")
  place = victim.Place(tmp_path / "room", tmp_path / "shared")
  ended = victim.Victim(place, "kill open programs 3").end()
  ended.expect(-signal.SIGKILL)
  outcome.resumes(place)


def test_again_and_again(account, place):
  """Each process saves a checkpoint or two more."""
  outcome = account("SIGKILL again and again")
  lives = 0
  while not (place.workdir / "results.csv").exists():
    started = victim.Victim(place, "kill os.rename /checkpoints/ 8")
    status = started.end().status
    lives += 1
    assert status in (0, -signal.SIGKILL) and lives < 20
  assert lives > 2
  outcome.resumes(place)
