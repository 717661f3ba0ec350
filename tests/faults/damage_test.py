"""Damaged checkpoints: the one before is used, if any is good.

A run that was killed with two checkpoints is damaged in every way. Its end must
equal that of the undisturbed run, from any checkpoint.
"""

import pathlib
import shutil

import numpy as np
import pytest
import victim

pytestmark = pytest.mark.faults

RNG = np.random.default_rng(5)


@pytest.fixture
def copied(cut, place) -> victim.Place:
  shutil.copytree(cut.room, place.room)
  return place


def _files(step: pathlib.Path) -> list[pathlib.Path]:
  """The files that hold a checkpoint; Orbax adds some that nothing reads."""
  state = sorted(p for p in (step / "state").rglob("*") if p.is_file())
  return [step / "manifest.json", *state]


def _truncate(path: pathlib.Path) -> None:
  with path.open("r+b") as file:
    file.truncate(path.stat().st_size // 2)


DAMAGE = {
  "one bit flipped in": victim.flip,
  "half cut off": _truncate,
  "deleted": pathlib.Path.unlink,
}


# A sample of the files, by their position. Their number is up to Orbax, and
# differs between checkpoints.
FILES = ((0, 1, 2, 3, 5, 7, 9, 11), (0, 4, 9), (2, 6, 10))
EACH = [
  (damage, number)
  for damage, numbers in zip(DAMAGE, FILES, strict=True)
  for number in numbers
]


@pytest.mark.parametrize(("damage", "number"), EACH)
def test_one_file_of_the_latest(damage, number, account, copied):
  latest = victim.latest(copied.workdir, "bandit")
  files = [path for path in _files(latest) if path.stat().st_size]
  outcome = account(f"a checkpoint's file, {damage}")
  DAMAGE[damage](files[number % len(files)])
  ended = outcome.resumes(copied)
  assert "Traceback" not in ended.log
  assert f"{latest} is damaged" in ended.log


def test_half_of_the_newest_deleted(account, copied):
  outcome = account("a checkpoint half deleted")
  latest = victim.latest(copied.workdir, "bandit")
  for path in RNG.permutation(_files(latest))[::2]:
    path.unlink()
  ended = outcome.resumes(copied)
  assert f"{latest} is damaged" in ended.log


def _but_for_tracking(workdir):
  """Returns all contents but those of a tracker, which every start rewrites."""
  return {
    name: content
    for name, content in victim.contents(workdir).items()
    if not name.startswith("tensorboard/")
  }


@pytest.mark.parametrize("damage", DAMAGE)
def test_none_is_good(damage, account, copied):
  outcome = account("every checkpoint damaged")
  for step in victim.checkpoints(copied.workdir, "bandit"):
    files = _files(victim.folder(copied.workdir, "bandit", step))
    DAMAGE[damage](max(files, key=lambda path: path.stat().st_size))
  # The locks of the killed process may be removed.
  for lock in copied.workdir.glob(".lock*"):
    lock.unlink()
  before = _but_for_tracking(copied.workdir)
  ended = victim.run(copied)
  outcome.refuses(ended, 1, "no checkpoint is good")
  assert _but_for_tracking(copied.workdir) == before
  # As the sentence says: start that run from step 0.
  shutil.rmtree(copied.workdir / "runs" / "bandit")
  outcome.resumes(copied)
