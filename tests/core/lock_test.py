"""One process at a time in a folder, and no lock outlives its process."""

import os
import signal
import subprocess
import sys

import pytest
from refusal import refused

from alcurr.core import lock
from alcurr.core.errors import UserError
from alcurr.experiments.workdir import check_workdir

HOLD = (
  "import pathlib, sys, time\n"
  "from alcurr.core import lock\n"
  "with lock.locked(pathlib.Path(sys.argv[1]), run=sys.argv[2]):\n"
  "  print('held', flush=True)\n"
  "  time.sleep(60)\n"
)


def _assert_refused(workdir, pid):
  with (
    pytest.raises(UserError) as refused,
    lock.locked(workdir, "--out"),
  ):
    pass
  assert (refused.value.code, refused.value.place) == ("in_use", "--out")
  assert f"process {pid};" in refused.value.text


def test_the_second_is_refused_and_told_the_first(tmp_path):
  with lock.locked(tmp_path / "run"):
    _assert_refused(tmp_path / "run", os.getpid())
    assert (tmp_path / "run").exists()
  assert not (tmp_path / "run").exists()


def test_a_folder_that_existed_is_not_removed(tmp_path):
  with lock.locked(tmp_path):
    pass
  assert list(tmp_path.iterdir()) == []


def test_another_lock_in_a_recreated_folder_stays(tmp_path):
  workdir = tmp_path / "run"
  with lock.locked(workdir):
    (workdir / lock.NAME).unlink()
    (workdir / lock.NAME).write_text("1\n")
  assert (workdir / lock.NAME).read_text() == "1\n"


def test_a_crash_leaves_no_lock(tmp_path):
  workdir = tmp_path / "run"
  with subprocess.Popen(
    [sys.executable, "-c", HOLD, str(workdir), ""], stdout=subprocess.PIPE
  ) as other:
    assert other.stdout.readline() == b"held\n"
    _assert_refused(workdir, other.pid)
    other.send_signal(signal.SIGKILL)
  assert (workdir / lock.NAME).exists()
  check_workdir(workdir, None)  # the file is not one of the user's
  with lock.locked(workdir):
    (workdir / "file").write_text("")
  assert [path.name for path in workdir.iterdir()] == ["file"]


def test_what_is_no_lock_is_not_overwritten(tmp_path):
  victim, path = tmp_path / "victim", tmp_path / "run" / lock.NAME
  victim.write_text("7\n")
  path.parent.mkdir()
  makes = (
    lambda: path.symlink_to(victim),
    lambda: path.symlink_to(tmp_path / "new"),
    lambda: path.hardlink_to(victim),
    lambda: os.mkfifo(path),
    lambda: path.write_text("of another program"),
  )
  for make in makes:
    make()
    before = path.lstat()
    with refused("exists", "--out"), lock.locked(path.parent, "--out"):
      pass
    assert path.lstat() == before
    path.unlink()
  assert victim.read_text() == "7\n"
  assert not (tmp_path / "new").exists()
  path.write_text("12\n")  # of a process that was killed
  with lock.locked(path.parent, "--out"):
    assert path.read_text() == f"{os.getpid()}\n"


def test_runs_of_a_folder_are_locked_apart(tmp_path):
  with lock.locked(tmp_path, run="a"), lock.locked(tmp_path, run="b"):
    with lock.locked(tmp_path):
      pass
    with refused("in_use", "--runs"), lock.locked(tmp_path, "--runs", "b"):
      pass
  assert not [*tmp_path.iterdir()]


# Each adds one to a number in a file, which two at a time would lose.
COUNT = (
  "import pathlib, sys\n"
  "from alcurr.core import lock\n"
  "folder = pathlib.Path(sys.argv[1])\n"
  "for _ in range(40):\n"
  "  with lock.locked(folder, wait=True):\n"
  "    number = int((folder / 'n').read_text())\n"
  "    (folder / 'n').write_text(str(number + 1))\n"
)


def test_whoever_waits_is_next_and_alone(tmp_path):
  (tmp_path / "n").write_text("0")
  command = [sys.executable, "-c", COUNT, str(tmp_path)]
  for process in [subprocess.Popen(command) for _ in range(3)]:
    assert process.wait(timeout=120) == 0
  assert (tmp_path / "n").read_text() == "120"
  assert [path.name for path in tmp_path.iterdir()] == ["n"]
