"""One process at a time in a workdir, and no lock outlives its process."""

import os
import signal
import subprocess
import sys

import pytest

from alcurr.core import lock
from alcurr.core.errors import UserError
from alcurr.experiments.workdir import check_workdir

HOLD = (
  "import pathlib, sys, time\n"
  "from alcurr.core import lock\n"
  "with lock.locked(pathlib.Path(sys.argv[1])):\n"
  "  print('held', flush=True)\n"
  "  time.sleep(60)\n"
)


def test_a_second_one_is_told_whom_to_wait_for(tmp_path):
  with lock.locked(tmp_path / "run"):
    with (
      pytest.raises(UserError, match=f"in use by process {os.getpid()};"),
      lock.locked(tmp_path / "run"),
    ):
      pass
    assert (tmp_path / "run").exists()
  assert not (tmp_path / "run").exists()


def test_a_crash_leaves_none_behind(tmp_path):
  workdir = tmp_path / "run"
  with subprocess.Popen(
    [sys.executable, "-c", HOLD, str(workdir)], stdout=subprocess.PIPE
  ) as other:
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(UserError, match=f"process {other.pid};"):
      lock.locked(workdir).__enter__()
    other.send_signal(signal.SIGKILL)
  assert (workdir / lock.NAME).exists()
  check_workdir(workdir, None)  # nothing of another's is there
  with lock.locked(workdir):
    (workdir / "file").write_text("")
  assert [path.name for path in workdir.iterdir()] == ["file"]
