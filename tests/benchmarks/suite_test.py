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
  both = first["full_s_least"] + second["full_s_least"]
  assert total["full_s_least"] == pytest.approx(both + 7)
  assert total["full_s_most"] == pytest.approx(both + 70)
