"""Drawings, the undisturbed run, and an account of what each fault led to."""

import fcntl
import json
import os
import pathlib
import re
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import victim


class Undisturbed(NamedTuple):
  shared: pathlib.Path
  result: dict[str, Any]  # see victim.result
  log: str
  seconds: float  # from when the device is known to the end


def _draw(folder: pathlib.Path) -> None:
  """Writes four classes of polygons, with 3 to 6 corners."""
  folder.mkdir()
  rng = np.random.default_rng(0)
  for corners in (3, 4, 5, 6):
    angle = 2 * np.pi * np.arange(corners + 1) / corners
    round_ = np.stack([np.cos(angle), np.sin(angle)])  # [2, corners + 1]
    wobble = rng.normal(0, 0.25, (150, 2, corners + 1))
    points = np.clip(128 + 90 * (round_ + wobble), 0, 255).astype(int)
    lines = [json.dumps({"drawing": [line.tolist()]}) for line in points]
    text = "\n".join(lines) + "\n"
    (folder / f"polygon{corners}.ndjson").write_text(text)


@pytest.fixture(scope="session")
def undisturbed(
  tmp_path_factory: pytest.TempPathFactory,
) -> Undisturbed:
  """Runs the experiment without any fault, once for all workers."""
  shared = tmp_path_factory.getbasetemp()
  if "PYTEST_XDIST_WORKER" in os.environ:
    shared = shared.parent  # the same for all workers
  shared = shared / "undisturbed"
  shared.mkdir(exist_ok=True)
  place = victim.Place(shared / "room", shared)
  with (shared / "lock").open("w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not (shared / "seconds").exists():
      _draw(shared / "data")
      started = victim.Victim(place)
      started.wait_for("jax .* on ")
      began = time.monotonic()
      ended = started.end()
      ended.expect(0)
      (shared / "log").write_text(ended.log)
      (shared / "seconds").write_text(str(time.monotonic() - began))
  return Undisturbed(
    shared,
    victim.result(place.workdir),
    (shared / "log").read_text(),
    float((shared / "seconds").read_text()),
  )


@pytest.fixture
def place(undisturbed: Undisturbed, tmp_path: pathlib.Path) -> victim.Place:
  """A new place for the same experiment; its programs are compiled."""
  return victim.Place(tmp_path / "room", undisturbed.shared)


@pytest.fixture(scope="session")
def cut(
  undisturbed: Undisturbed, tmp_path_factory: pytest.TempPathFactory
) -> victim.Place:
  """The experiment killed in the middle of the bandit; to be copied."""
  room = tmp_path_factory.mktemp("cut") / "room"
  place = victim.Place(room, undisturbed.shared)
  started = victim.Victim(place)
  started.wait_for(lambda: 64 in victim.checkpoints(place.workdir, "bandit"))
  started.send(signal.SIGKILL)
  started.end()
  assert len(victim.checkpoints(place.workdir, "bandit")) >= 2
  return place


class Account:
  """The outcome of a fault; a table of all is printed at the end."""

  def __init__(
    self,
    fault: str,
    undisturbed: Undisturbed,
    record: Callable[[str, object], None],
  ) -> None:
    self._fault = fault
    self._undisturbed = undisturbed
    self._record = record
    self._note("tried")

  def _note(self, what: str) -> None:
    self._record("fault", [self._fault, what])

  def resumes(self, place: victim.Place) -> victim.Ended:
    """Asserts that the same command ends as if nothing had happened."""
    ended = victim.run(place)
    ended.expect(0)
    self.is_equal(place.workdir)
    return ended

  def is_equal(self, workdir: pathlib.Path) -> None:
    """Asserts that a workdir equals that of the undisturbed run."""
    assert victim.result(workdir) == self._undisturbed.result
    self._note("equal")

  def refuses(self, ended: victim.Ended, status: int, pattern: str) -> None:
    """Asserts that it stopped with one sentence that has a pattern."""
    ended.expect(status)
    assert re.search(pattern, ended.sentence), ended.sentence
    self._note("refused")


@pytest.fixture
def account(
  undisturbed: Undisturbed, record_property: Callable[[str, object], None]
) -> Callable[[str], Account]:
  return lambda fault: Account(fault, undisturbed, record_property)
