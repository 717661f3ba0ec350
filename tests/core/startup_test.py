"""Commands whose streams are closed, full or not read, or that are stopped."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from alcurr.core import startup

# A command without the seconds that real ones need to start.
COMMAND = """
import os, sys
sys.argv[0] = "-m"
import alcurr
sys.argv[0] = "program"
from alcurr.core import cli
def command():
  if sys.stdin is None or sys.stdin.isatty():
    raise AssertionError
  print("± done" + 9000 * " ")
  print("a note", file=sys.stderr)
  file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
  assert file > 2
sys.exit(cli.status(command))
"""


# All three streams are closed in one case, each alone in slow ones.
@pytest.mark.parametrize(
  ("streams", "status", "out", "error"),
  [
    ("", 0, b"\\xb1 done", b"a note\n"),
    pytest.param(">&-", 0, b"", b"a note\n", marks=pytest.mark.slow),
    pytest.param("2>&-", 0, b"\\xb1 done", b"", marks=pytest.mark.slow),
    ("<&- >&- 2>&-", 0, b"", b""),
    ("| true", 0, b"", b"a note\n"),
    pytest.param("2>/dev/full", 0, b"\\xb1 done", b"", marks=pytest.mark.slow),
    (">/dev/full", 1, b"", b"alcurr: standard output: No space left on device"),
  ],
)
def test_streams(streams, status, out, error, tmp_path):
  if "full" in streams and not pathlib.Path("/dev/full").exists():
    pytest.skip("this system has no /dev/full")
  script = f'set -o pipefail; "$0" -c "$1" "$2" {streams}'
  done = subprocess.run(
    ["bash", "-c", script, sys.executable, COMMAND, tmp_path / "file"],
    env=os.environ | {"PYTHONIOENCODING": "ascii"},
    stdin=subprocess.DEVNULL,
    capture_output=True,
  )
  assert done.returncode == status, done.stderr
  assert done.stdout.strip() == out
  assert error in done.stderr and b"Traceback" not in done.stderr
  assert not (tmp_path / "file").read_bytes() if status == 0 else True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_imports_ends_the_command(number, tmp_path):
  # The first import of another library sends it to this very process.
  (tmp_path / "numpy.py").write_text(
    f"import os, time\nos.kill(os.getpid(), {number})\ntime.sleep(60)\n"
  )
  paths = [str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
  for module in ("main", "data", "report", "experiments.tune"):
    done = subprocess.run(
      [sys.executable, "-m", f"alcurr.{module}"],
      env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
      capture_output=True,
      text=True,
    )
    assert done.returncode == 128 + number, done.stderr
    assert done.stderr.strip().startswith(f"alcurr: stopped by {number.name}")
    assert "Traceback" not in done.stderr


def test_an_import_that_the_machine_denies_is_one_line(capsys):
  startup.report_uncaught(OSError, OSError("no folder\nto write to"), None)
  assert capsys.readouterr().err == "alcurr: OSError: no folder to write to\n"


@pytest.mark.parametrize("kilobytes", [400_000, 1_500_000])
def test_too_little_address_space_is_one_sentence(kilobytes, tmp_path):
  """Otherwise imports or JAX's threads would fail in ways of their own."""
  script = f'ulimit -v {kilobytes}; "$0" -m alcurr.main'
  done = subprocess.run(
    ["bash", "-c", script, sys.executable], capture_output=True, text=True
  )
  assert done.returncode == 2, done.stderr
  assert done.stderr.startswith("alcurr: ulimit -v: ")
  assert len(done.stderr.splitlines()) == 1
