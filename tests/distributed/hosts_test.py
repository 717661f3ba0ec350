"""Two processes with two devices each do what one does, and end together.

They talk over gloo on the loopback, as hosts do over a network.
"""

import pathlib
import signal

import numpy as np
import pandas as pd
import pytest
from hosts import Group

from alcurr.training import checkpoint
from alcurr.training.processes import HEARTBEAT_SECONDS

pytestmark = pytest.mark.distributed
# Sums over a batch associate otherwise: relative to the loss, or absolute.
TOLERANCE = 1e-4
_TIMES = "seconds"  # in the names of columns


def results(folder: pathlib.Path) -> pd.DataFrame:
  table = pd.read_csv(folder / "run/results.csv")
  return table[[name for name in table if _TIMES not in name]]


def check_equal(left: pd.DataFrame, right: pd.DataFrame) -> None:
  pd.testing.assert_frame_equal(left, right, rtol=TOLERANCE, atol=TOLERANCE)


def finish(folder: pathlib.Path, name: str, count: int, *options: str) -> None:
  group = Group(folder, name, count, options)
  assert group.wait() == [0] * count, group.output()


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> pd.DataFrame:
  """The results of one process that nobody disturbs."""
  folder = tmp_path_factory.mktemp("alone")
  finish(folder, "alone", 1)
  return results(folder)


def _start(folder: pathlib.Path, name: str, count: int) -> Group:
  """Starts processes, and waits until they have saved a checkpoint."""
  checkpoints = folder / "run/runs/bandit/checkpoints"
  before = max(checkpoint.steps(checkpoints), default=0)
  group = Group(folder, name, count)
  group.wait_until(
    lambda: max(checkpoint.steps(checkpoints), default=0) > before
  )
  return group


def _stop(folder: pathlib.Path, name: str, count: int) -> None:
  """Runs up to a checkpoint, and sends SIGTERM to the last process."""
  group = _start(folder, name, count)
  group.send(count - 1, signal.SIGTERM)
  assert group.wait() == [143] * count, group.output()


def test_other_data_is_found(tmp_path):
  rng, folders = np.random.default_rng(0), {}
  for number in (0, 1):
    folders[number] = tmp_path / str(number)
    folders[number].mkdir()
    images = rng.integers(0, 255, (120, 12, 12)).astype(np.uint8)
    labels = np.arange(120) % 3
    np.savez(folders[number] / "data.npz", images=images, labels=labels)
  options = ["--config.data.source=npz", "--config.data.dir=data.npz"]
  group = Group(tmp_path, "other", 2, options, folders)
  assert group.wait() == [1, 1], group.output()
  for number in (0, 1):
    (sentence,) = group.sentences(number)
    assert "process 1" in sentence
    assert "data" in sentence


def test_a_signal_to_one_stops_all_and_any_number_resumes(tmp_path, expected):
  _stop(tmp_path, "two", 2)
  _stop(tmp_path, "one", 1)
  finish(tmp_path, "rest", 2)
  check_equal(results(tmp_path), expected)


@pytest.mark.parametrize("pool", ["host", "split"])
def test_the_place_of_a_pool_changes_no_result(tmp_path, expected, pool):
  finish(tmp_path, pool, 2, f"--config.data.pool={pool}")
  check_equal(results(tmp_path), expected)


@pytest.mark.parametrize("number", [0, 1])
def test_a_killed_process_ends_the_others(tmp_path, expected, number):
  group = _start(tmp_path, "killed", 2)
  group.send(number, signal.SIGKILL)
  statuses = group.wait(2 * HEARTBEAT_SECONDS)
  assert statuses[number] == -signal.SIGKILL
  assert statuses[1 - number] != 0
  finish(tmp_path, "rest", 2)
  check_equal(results(tmp_path), expected)


def test_without_a_cluster_it_says_so(tmp_path):
  group = Group(tmp_path, "nobody", 1, ["--distributed"])
  assert group.wait() == [2], group.output()
  (sentence,) = group.sentences(0)
  assert sentence.startswith("alcurr: --distributed:")
