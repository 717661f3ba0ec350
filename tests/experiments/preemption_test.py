"""Signals: one who trains is asked, another quits, a second one quits too."""

import signal
import subprocess
import sys

import pytest

from alcurr.experiments import preemption

# Of two parts: where a signal quits at once, and where it is held.
PROGRAM = """
import hashlib, sys, time
from alcurr import stopping
signals = stopping.Signals()
try:
  with signals.watched():
    if sys.argv[1] == "quits":
      print("ready", flush=True)
      # The main thread sees no signal in here.
      hashlib.pbkdf2_hmac("sha1", b"", b"salt", 10**9)
    with signals.held() as stop:
      print("ready", flush=True)
      while not stop():
        time.sleep(0.01)
      print("asked", flush=True)
      if sys.argv[1] == "stuck":
        time.sleep(60)
except stopping.Stopped as stopped:
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
      if how == "stuck":
        assert program.stdout.readline() == "asked\n"
        program.send_signal(number)
      out, err = program.communicate(timeout=30)
    finally:
      program.kill()
  assert program.returncode == 128 + number
  sentence = (
    f"stopped by {signal.Signals(number).name}; run the same command again to "
    "go on.\n"
  )
  assert (out + err).endswith(sentence)
  assert "Traceback" not in err


def test_handlers_are_given_back():
  before = [signal.getsignal(number) for number in preemption.SIGNALS]
  with preemption.Signals().watched():
    assert signal.getsignal(signal.SIGTERM) not in before
  assert [signal.getsignal(number) for number in preemption.SIGNALS] == before
