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
RESUMED = ("resumed on trial=2,data=2", "resumed on ")


def run_on(num_devices: int, *command: str | pathlib.Path) -> str:
  """Returns what Python prints in a process with devices of a CPU."""
  flags = f"--xla_force_host_platform_device_count={num_devices}"
  env = os.environ | {
    "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}",
    "PYTHONPATH": os.pathsep.join(map(str, (HERE.parent, HERE.parents[1]))),
  }
  done = subprocess.run(
    [sys.executable, *command],
    env=env,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-4000:]
  return done.stdout


def compare(num_devices: int, *args: str) -> dict[str, dict]:
  """Returns the output of `on_devices.py` by sampler."""
  lines = run_on(num_devices, HERE / "on_devices.py", *args).splitlines()
  return {row["sampler"]: row for row in map(json.loads, lines)}


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
  return compare(8, "data=8", "trial=2,data=2", *SAMPLERS)


@pytest.mark.distributed
@pytest.mark.parametrize("name", SAMPLERS)
def test_eight_devices_do_what_one_does(all_samplers, name):
  assert {*RESUMED} < all_samplers[name].keys()
  check(all_samplers[name])


# Two devices hold what JAX believes to be copies of one state.
OTHER_STATE = """
import jax, numpy as np
from alcurr.core.errors import FaultError
from alcurr.training import parallel, processes
from alcurr.types import TrainState
mesh = parallel.make_mesh("data=2", 1, [2], jax.devices())
exchange = processes.Exchange(mesh, lambda: 15)

def state(*values):
  key = parallel.put(mesh, jax.random.key(0)[None], parallel.BY_TRIAL)
  step = parallel.put(mesh, np.zeros(1, np.int32), parallel.BY_TRIAL)
  copies = [jax.device_put(np.float32([[v]]), d)
            for v, d in zip(values, jax.devices())]
  learned = jax.make_array_from_single_device_arrays(
    (1, 1), step.sharding, copies)
  return TrainState(step, key, (), (), (), learned)

exchange.receive(exchange.send(state(1, 1), True))
print(exchange.stop(), exchange.save)
try:
  exchange.receive(exchange.send(state(1, 1 + 1e-7), False))
except FaultError as error:
  print(error.code, error.text)
"""


@pytest.mark.distributed
def test_a_state_that_differs_is_found():
  done = run_on(2, "-c", OTHER_STATE)
  agreed, found = done.splitlines()
  assert agreed == "15 True"
  assert found.startswith("mismatch") and "sampler_state" in found
