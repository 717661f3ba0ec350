"""The projection of the paper's runs to full size, calculated by hand."""

import pytest

from benchmarks import suite
from configs import paper


def test_training_time_grows_with_steps_and_compile_time_does_not():
  config = paper.get_config("scale=0.1,batch=500")
  assert config.data.train_examples == 50_000 and config.trials == 3
  run = {
    "sampler": "uniform",
    "batch_size": 500,
    "steps": 100,
    "train_seconds": 2.0,
    "compile_seconds": 7.0,
  }
  small = run | {"sampler": "bandit_32", "batch_size": 32, "steps": 1562}
  first, second, total = suite.make_rows(config, [run, small], wall=33.0)
  # 6 s for 100 steps of three trials, so 60 s for 1,000.
  assert (first["full_steps"], first["train_s"]) == (1000, 6.0)
  assert first["full_s_least"] == first["full_s_most"] == 60 + 7
  assert second["full_s_least"] == pytest.approx(6 * 15_625 / 1562 + 7)
  # 7 s are neither training nor compiling; they become 7 to 70 s.
  assert first["finished"] and total["finished"]
  both = first["full_s_least"] + second["full_s_least"]
  assert total["full_s_least"] == pytest.approx(both + 7)
  assert total["full_s_most"] == pytest.approx(both + 70)


def test_a_stopped_experiment_is_projected_from_the_runs_that_began():
  """Steps of three trials take 30 and 60 ms at batch size 500."""
  config = paper.get_config("scale=1,batch=500")
  ended = {
    "sampler": "uniform",
    "batch_size": 500,
    "steps": 1000,
    "train_seconds": 10.0,
    "compile_seconds": 7.0,
  }
  began = ended | {"sampler": "bandit", "steps": 100, "train_seconds": 2.0}
  began["compile_seconds"] = None
  waits = began | {"sampler": "curriculum", "steps": 0, "train_seconds": 0.0}
  rows = suite.make_rows(config, [ended, began, waits], wall=50.0)
  columns = ("finished", "full_s_least", "full_s_most")
  found = [tuple(row[name] for name in columns) for row in rows]
  assert found[:3] == [
    (True, 37, 37),
    (False, pytest.approx(60), pytest.approx(60)),
    (False, pytest.approx(30), pytest.approx(60)),
  ]
  # 30 s and 6 s of training and 7 s of compilation leave 7 s for the rest.
  assert found[3] == (False, pytest.approx(134), pytest.approx(164))
  # Nothing is known of another batch size.
  other = waits | {"batch_size": 32}
  *_, total = suite.make_rows(config, [ended, began, other], wall=50.0)
  assert "full_s_least" not in total
