"""Regret to the best fixed policy, on experiments written by hand."""

import json
import math

import numpy as np
import pytest

from alcurr.report import bootstrap, selection

N = 40


def _write(workdir, name, valid, right, flops=100.0, steps=(10, 20)):
  """Writes a finished sampler.

  Args:
    workdir: of the experiment.
    name: of the sampler.
    valid: [S][evaluations] top-1 on valid.
    right: [S, N] bool, on test.
    flops: of a step.
    steps: of the evaluations.
  """
  folder = workdir / "runs" / name
  folder.mkdir(parents=True)
  rows = [{"step": 5, "trial": t, "valid": None} for t in range(len(valid))]
  for i, step in enumerate(steps):
    rows += [
      {"step": step, "trial": t, "valid": {"top1": values[i]}}
      for t, values in enumerate(valid)
    ]
  lines = "".join(json.dumps(row) + "\n" for row in rows)
  (folder / "metrics.jsonl").write_text(lines)
  rank = np.where(right, 0, 2).astype(np.int32)
  loss = np.ones(rank.shape, np.float32)
  np.savez(folder / "test.npz", rank=rank, loss=loss)
  result = {"sampler": name, "flops_per_step": flops, "examples_seen": 640}
  result["trials"] = [{}] * len(valid)
  (folder / "result.json").write_text(json.dumps(result))


def _right(*counts):
  """Returns [S, N]: trial s is right on its first counts[s] examples."""
  return np.arange(N) < np.array(counts)[:, None]


def _config(workdir, samplers):
  grid = [name for name in samplers if name in ("easy", "hard")]
  config = {"samplers": samplers, "baseline": "uniform", "grid": grid}
  (workdir / "config.json").write_text(json.dumps(config))


FIXED = {"name": "fixed_policy", "policy": "uniform"}
SAMPLERS = {
  "bandit": {"name": "active_bandit"},
  "uniform": {"name": "uniform"},
  "easy": FIXED,
  "hard": FIXED,
}


@pytest.fixture
def workdir(tmp_path):
  """`hard` is the best on valid, `easy` on test."""
  _config(tmp_path, SAMPLERS)
  _write(tmp_path, "uniform", [[0.9, 0.5], [0.9, 0.5]], _right(20, 20))
  _write(tmp_path, "easy", [[0.9, 0.6], [0.9, 0.6]], _right(40, 40))
  _write(tmp_path, "hard", [[0.1, 0.6], [0.1, 0.8]], _right(28, 32), 200.0)
  _write(tmp_path, "bandit", [[0.9, 0.9], [0.9, 0.9]], _right(24, 24), 150.0)
  return tmp_path


def test_the_best_is_chosen_on_valid_and_regret_is_of_test(workdir):
  table = selection.regret_table(workdir).set_index("sampler")
  assert table.index.tolist() == ["easy", "hard", "bandit", "uniform"]
  column = table["in the grid"]
  assert column.to_dict() == {
    "easy": True,
    "hard": True,
    "bandit": False,
    "uniform": True,
  }
  assert table["valid top-1 %"].tolist() == pytest.approx([60, 70, 90, 50])
  assert table["test top-1 %"].tolist() == pytest.approx([100, 75, 60, 50])
  assert table["regret"].tolist() == pytest.approx([-25, 0, 15, 25])
  difference = table["difference to uniform"]
  assert difference.tolist() == pytest.approx([50, 25, 10, 0])
  assert table["FLOPs per step"].tolist() == [1.0, 2.0, 1.5, 1.0]
  assert (table["examples seen"] == 640).all()


def test_intervals_are_of_the_paired_differences(workdir):
  table = selection.regret_table(workdir).set_index("sampler")
  # A difference of equals is zero in every resample.
  assert table.loc["hard", ["regret, low", "regret, high"]].tolist() == [0, 0]
  to_base = ["difference to uniform, low", "difference to uniform, high"]
  assert table.loc["uniform", to_base].tolist() == [0, 0]
  expected = bootstrap.paired_bootstrap(1.0 * _right(28, 32) - _right(24, 24))
  assert table.loc[
    "bandit", ["regret", "regret, low", "regret, high"]
  ].tolist() == pytest.approx([100 * x for x in expected])
  # 10 points, at a binomial deviation of 100 sqrt(0.1 0.9 / 40) = 4.7.
  low, high = table.loc["bandit", to_base]
  assert -1 < low < 4 and 17 < high < 22


def test_a_sampler_that_is_always_right_has_the_whole_regret(tmp_path):
  _config(tmp_path, SAMPLERS)
  for name in SAMPLERS:
    right = _right(40, 40) if name == "easy" else _right(0, 0)
    valid = 0.9 if name == "easy" else 0.1
    _write(tmp_path, name, [[0.0, valid]] * 2, right)
  table = selection.regret_table(tmp_path).set_index("sampler")
  columns = ["regret", "regret, low", "regret, high"]
  assert table.loc["bandit", columns].tolist() == [100, 100, 100]


def test_the_text_names_the_best_fixed_policy(workdir):
  attributes = selection.regret_table(workdir).attrs
  assert attributes == {"base": "uniform", "best": "hard", "count": 2}


def test_unknown_flops_are_nan(workdir):
  path = workdir / "runs" / "bandit" / "result.json"
  result = json.loads(path.read_text()) | {"flops_per_step": None}
  path.write_text(json.dumps(result))
  table = selection.regret_table(workdir).set_index("sampler")
  assert math.isnan(table.loc["bandit", "FLOPs per step"])


def test_without_a_finished_grid_there_is_no_regret(workdir):
  (workdir / "runs" / "easy" / "result.json").unlink()
  assert selection.regret_table(workdir).empty
  _config(workdir, {"uniform": {"name": "uniform"}})
  assert selection.regret_table(workdir).empty


def test_an_unfinished_sampler_outside_the_grid_is_omitted(workdir):
  (workdir / "runs" / "bandit" / "result.json").unlink()
  assert "bandit" not in set(selection.regret_table(workdir)["sampler"])
