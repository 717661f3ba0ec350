"""Eight devices do what one does, and resume what four or one began.

The devices are of a CPU, in a process of their own: XLA reads their number when
it starts. Draws of samplers without a signal are bitwise the same; numbers are
until sums over a batch associate otherwise, to TOLERANCE.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from sampler_table import SAMPLERS

HERE = pathlib.Path(__file__).parent
TOLERANCE = 1e-5  # absolute, of parameters, losses and states
FAST = ("uniform", "bandit", "loss_proportional")
# Fetched before the steps; within them; with 23 candidates, of which 8 devices
# each need all.
ON_HOST = ("uniform@host", "bandit@host", "small_loss@host")
ALL = (*SAMPLERS, *ON_HOST)
RESUMED = ("resumed on trial=2,data=2", "resumed on ")


def compare(num_devices: int, *args: str) -> dict[str, dict]:
  """Returns the output of `on_devices.py` by sampler."""
  flags = f"--xla_force_host_platform_device_count={num_devices}"
  env = os.environ | {
    "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}",
    "PYTHONPATH": os.pathsep.join(map(str, (HERE.parent, HERE.parents[1]))),
  }
  done = subprocess.run(
    [sys.executable, HERE / "on_devices.py", *args],
    env=env,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-4000:]
  found = [json.loads(line) for line in done.stdout.splitlines()]
  return {row["sampler"]: row for row in found}


def check(found: dict) -> None:
  """Checks the differences that `on_devices.py` found for a sampler."""
  for name, each in found.items():
    if isinstance(each, dict):
      assert each["key"] == 0, name
      assert each["params"] < TOLERANCE, name
      assert each["counts"] == 0, name
      # States of open-loop samplers depend on nothing that is trained.
      assert each["sampler_state"] <= TOLERANCE * found["learned"], name
  assert found["metrics"] < TOLERANCE


@pytest.fixture(scope="module")
def few():
  return compare(2, "data=2", "trial=2", *FAST)


@pytest.mark.parametrize("name", FAST)
def test_two_devices_do_what_one_does(few, name):
  check(few[name])


@pytest.fixture(scope="module")
def all_samplers():
  return compare(8, "data=8", "trial=2,data=2", *ALL)


@pytest.mark.distributed
@pytest.mark.parametrize("name", ALL)
def test_eight_devices_do_what_one_does(all_samplers, name):
  assert {*RESUMED} < all_samplers[name].keys()
  check(all_samplers[name])
