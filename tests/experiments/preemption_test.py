"""Signals stop training after a chunk; all else, and a second one, quits."""

import signal
import subprocess
import sys
import time

import pytest

from alcurr.experiments import preemption

# First a signal quits at once, then it is held back.
PROGRAM = """
import hashlib, sys, time
from alcurr.experiments import preemption
signals = preemption.Signals()
try:
  with signals.watched():
    if sys.argv[1] == "quits":
      print("ready", flush=True)
      # The main thread receives no signal in here.
      hashlib.pbkdf2_hmac("sha1", b"", b"salt", 10**9)
    with signals.held() as stop:
      print("ready", flush=True)
      while not stop():
        time.sleep(0.01)
      print("received", flush=True)
      if sys.argv[1] == "stuck":
        time.sleep(60)
except preemption.Stopped as stopped:
  print(stopped)
  sys.exit(stopped.status)
"""


@pytest.mark.parametrize("number", preemption.SIGNALS)
@pytest.mark.parametrize("how", ["quits", "stops", "stuck"])
def test_signals(how, number):
  with subprocess.Popen(
    [sys.executable, "-c", PROGRAM, how],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  ) as program:
    try:
      assert program.stdout.readline() == "ready\n"
      program.send_signal(number)
      if how == "stops":  # as `timeout` does
        program.send_signal(number)
      if how == "stuck":
        assert program.stdout.readline() == "received\n"
        time.sleep(1.1)  # within a second both are one
        program.send_signal(number)
      out, err = program.communicate(timeout=60)
    finally:
      program.kill()
  assert program.returncode == 128 + number
  last = (out + err).splitlines()[-1]
  assert f"stopped by {signal.Signals(number).name}" in last
  assert "Traceback" not in err


def test_handlers_are_restored():
  before = [signal.getsignal(number) for number in preemption.SIGNALS]
  with preemption.Signals().watched():
    assert signal.getsignal(signal.SIGTERM) not in before
  assert [signal.getsignal(number) for number in preemption.SIGNALS] == before
