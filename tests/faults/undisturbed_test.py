"""Two undisturbed runs are equal; all other tests here rely on it."""

import shutil

import numpy as np
import pytest
import victim

pytestmark = pytest.mark.faults


def test_two_runs_are_bit_identical(undisturbed, account, place):
  account("none").resumes(place)
  for name in ("uniform", "bandit"):
    rows = undisturbed.result[f"{name}/metrics.jsonl"]
    assert [(row["step"], row["trial"]) for row in rows] == [
      (step, trial) for step in range(8, 97, 8) for trial in (0, 1)
    ]


def test_a_difference_of_one_bit_is_found(undisturbed, tmp_path):
  workdir = tmp_path / "run"
  shutil.copytree(undisturbed.shared / "room" / "run", workdir)
  assert victim.result(workdir) == undisturbed.result
  path = workdir / "runs" / "bandit" / "test.npz"
  with np.load(path) as arrays:
    changed = dict(arrays)
  changed["loss"][1, 2] = np.nextafter(changed["loss"][1, 2], np.float32(9))
  np.savez_compressed(path, **changed)
  assert victim.result(workdir) != undisturbed.result
