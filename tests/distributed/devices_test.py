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
# Without a signal; with one, a bandit, fetching within steps.
FAST = ("uniform@split", "bandit@host")
# Fetched before the steps; within them; with others for the signal; with 23
# candidates, of which 8 devices each need all.
ON_HOST = ("uniform@host", "bandit@host", "bandit_self@host", "small_loss@host")
# With a probe for the signal; with 23 candidates.
SPLIT = tuple(name.replace("host", "split") for name in ON_HOST)
ALL = (*SAMPLERS, *ON_HOST, *SPLIT)
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
  return compare(8, "data=8", "trial=2,data=2", *ALL)


@pytest.mark.distributed
@pytest.mark.parametrize("name", ALL)
def test_eight_devices_do_what_one_does(all_samplers, name):
  assert {*RESUMED} < all_samplers[name].keys()
  check(all_samplers[name])


# Two devices hold what JAX believes to be copies of one state.
OTHER_STATE = """
import jax, numpy as np
from alcurr.core.errors import FaultError
from alcurr.training import meshes, parallel, processes
from alcurr.types import TrainState
mesh = meshes.make_mesh("data=2", 1, [2], jax.devices())
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


# A pool whose examples are in the store in reverse order.
SLICES = """
import jax, json, numpy as np
from alcurr.data.host_store import make_fetch, make_lookup
from alcurr.data.pool import make_gather
from alcurr.training import chunks, compilation, meshes, parallel
from alcurr.types import Images, Pool, Stored
image = np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1)
lookup, asked = make_lookup(Images(image)), []

def find(row, count):
  asked.append(row.tolist())
  return lookup.find(row, count)

gather = make_gather(fetch=make_fetch(lookup._replace(find=find)))
gather = parallel.split_gather(gather)
mesh = meshes.make_mesh("data=2", 1, [4], jax.devices())
every = parallel.replicator(mesh)
row = np.arange(10, dtype=np.int32)[::-1]
pool = every(Pool(Stored(row), np.zeros(10, np.int32), {}, {}))
state = parallel.put(mesh, np.zeros(1), parallel.BY_TRIAL)

def images(state, pool, index):
  return gather(pool, index).inputs.ravel()

for index in ([9, 2, 5, 2], [1, 0, 3]):
  index = every(np.array(index, np.int32))
  program = compilation.compile_once(
    chunks.over_trials(images, "map"), state, pool, index, mesh=mesh,
    results=parallel.BY_TRIAL)
  found = np.asarray(program(state, pool, index)).tolist()
  print(json.dumps([sorted(asked), found]))
  asked.clear()
"""


@pytest.mark.distributed
def test_each_device_fetches_its_slice_of_a_batch_from_the_host():
  split, whole = map(json.loads, run_on(2, "-c", SLICES).splitlines())
  assert split == [[[0, 7], [4, 7]], [[0, 7, 4, 7]]]
  # Two devices do not divide three examples: each fetches all.
  assert whole == [[[8, 9, 6], [8, 9, 6]], [[8, 9, 6]]]


# Ten examples of three dtypes, of which each of four devices holds three.
EXCHANGE = """
import jax, json, numpy as np
from alcurr.data.pool import make_gather
from alcurr.training import chunks, compilation, meshes, parallel
from alcurr.types import Pool, Rows, Split
gather = parallel.split_gather(make_gather())
rng = np.random.default_rng(0)
rows = {"byte": rng.integers(0, 256, (10, 2, 2)).astype(np.uint8),
        "flag": rng.random(10) < 0.5,
        "number": np.where(np.arange(10) == 4, np.nan, rng.normal(size=10))
                    .astype(np.float32)}
host = Pool(Split(Rows(rows)), np.arange(10, dtype=np.int32), {}, {})

def batch(state, pool, index):
  return gather(pool, index)

for text, trials in (("data=4", 1), ("trial=2,data=2", 2)):
  mesh = meshes.make_mesh(text, trials, [4], jax.devices())
  pool = parallel.put(mesh, host, parallel.REPLICATED)
  held = [x.addressable_data(0).shape[0] for x in jax.tree.leaves(pool.source)]
  state = parallel.put(mesh, np.zeros(trials), parallel.BY_TRIAL)
  for index in ([9, 2, 5, 2], [9, 0, 4], [0, 1, 2, 3, 7, 9, 9, 4]):
    every = parallel.put(mesh, np.array(index, np.int32), parallel.REPLICATED)
    program = compilation.compile_once(
      chunks.over_trials(batch, "vmap" if trials > 1 else "map"),
      state, pool, every, mesh=mesh, results=parallel.BY_TRIAL)
    inputs, label = program(state, pool, every)
    same = all(
      np.array_equal(inputs[k][t], rows[k][index], equal_nan=k == "number")
      and inputs[k].dtype == rows[k].dtype
      for k in rows for t in range(trials))
    print(json.dumps([held, same, np.asarray(label).tolist()[0] == index]))
"""


@pytest.mark.distributed
def test_devices_exchange_the_examples_of_a_split_pool():
  found = [*map(json.loads, run_on(4, "-c", EXCHANGE).splitlines())]
  assert found == [[[3] * 3, True, True]] * 3 + [[[5] * 3, True, True]] * 3


@pytest.mark.distributed
def test_stored_blocks_are_split_like_the_rest():
  found = json.loads(run_on(4, HERE / "stored_blocks.py"))
  assert found["calls"] == 2 * 5  # of each block, forward and backward
  assert found["gathers"] == 0
  assert found["difference"] < 1e-4
