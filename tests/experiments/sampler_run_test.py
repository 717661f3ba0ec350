"""What a run has of its own, and runs at equal cost."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from alcurr.core.errors import UserError
from alcurr.data.partitions import PARTITIONS
from alcurr.data.pool import make_pool
from alcurr.experiments import preemption, runner, sampler_run, setup
from alcurr.experiments.config import build
from alcurr.training.run import count_flops
from configs import default


def _config(**samplers):
  config = default.get_config()
  config.data.num_examples = 1200
  config.data.classes = "4"
  config.data.image_size = 16
  config.data.render = "precompute"
  config.data.probe_fraction = 0.1
  config.batch_size = 8
  config.samplers.bandit.warmup = 10
  config.samplers.update(ConfigDict(samplers))
  return config


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """A config, its job and its pools, with difficulties by lot."""
  config = _config(
    wide={
      "name": "uniform",
      "run": {"batch_size": 16, "model": {"name": "cnn(width=0.5)"}},
    },
    both={"name": "uniform", "run": {"train_on": "train_and_probe"}},
    half={"name": "uniform", "run": {"budget": "0.5 epoch"}},
  )
  build.check(config)
  job = setup.load_context(config, tmp_path_factory.mktemp("cache"))
  rng = np.random.default_rng(0)
  pools = {}
  for name, part in job.parts.items():
    lots = rng.random(len(part.label)).astype(np.float32)
    difficulty = PARTITIONS["difficulty"](part.label, lots, 5)
    pools[name] = make_pool(part, lots, {"difficulty": difficulty})
  pools["train_and_probe"] = pools["train"]
  return config, job, pools


def test_a_run_has_its_own_batch_model_and_budget(made):
  config, job, pools = made
  one = sampler_run.make_run(config, job, "uniform", pools)
  size = len(job.parts["train"].label)
  assert (one.batch_size, one.num_steps) == (8, size // 8)
  wide = sampler_run.make_run(config, job, "wide", pools)
  assert (wide.batch_size, wide.num_steps) == (16, size // 16)
  wide_cnn = {"name": "cnn(width=0.5)", "weights": ""}
  assert wide.model is job.networks[str(ConfigDict(wide_cnn))].model
  assert wide.model is not one.model
  half = sampler_run.make_run(config, job, "half", pools)
  assert half.num_steps == size // 16
  # An epoch stays one of the training pool.
  assert (
    sampler_run.make_run(config, job, "both", pools).num_steps == one.num_steps
  )


def test_at_equal_flops_a_second_forward_pass_costs_a_quarter_of_the_steps(
  made,
):
  config, job, pools = made
  equal = config.copy_and_resolve_references()
  equal.budget_basis = "flops"
  one = sampler_run.make_run(equal, job, "uniform", pools)
  two = sampler_run.make_run(equal, job, "bandit", pools)
  assert two.num_steps / one.num_steps == pytest.approx(0.75, abs=0.02)
  spent = [count_flops(run, pools) * run.num_steps for run in (one, two)]
  assert spent[1] <= spent[0]
  assert spent[1] == pytest.approx(spent[0], rel=0.02)


def test_the_probe_split_joins_the_training_pool(tmp_path):
  config = _config(
    both={"name": "uniform", "run": {"train_on": "train_and_probe"}}
  )
  del config.samplers.bandit
  job = setup.load_context(config, tmp_path)
  pools, seconds = runner.make_pools(
    config, job, tmp_path, tmp_path / "kept", preemption.Signals()
  )
  assert seconds == 0  # nothing reads a difficulty
  assert pools.keys() == {"train", "probe", "valid", "test", "train_and_probe"}
  both = np.asarray(pools["train_and_probe"].label)
  np.testing.assert_array_equal(
    both, np.concatenate([job.parts[n].label for n in ("train", "probe")])
  )


def test_without_a_probe_split_samplers_learn_from_the_valid_one(tmp_path):
  config = _config()
  config.data.probe_fraction = 0.0
  del config.samplers.bandit
  job = setup.load_context(config, tmp_path)
  pools, _ = runner.make_pools(
    config, job, tmp_path, tmp_path / "kept", preemption.Signals()
  )
  assert pools["probe"] is pools["valid"]


@pytest.mark.parametrize(
  ("sampler", "message"),
  [
    ({"run": {"epochs": 3}}, "samplers.x.run: no 'epochs'. Known: baseline"),
    ({"run": {"baseline": "unifrom"}}, "Did you mean uniform?"),
    ({"run": {"batch_size": 0}}, "batch_size must be at least 1"),
    ({"run": {"train_on": "test"}}, "train_on must be one of"),
    ({"run": {"budget": "soon"}}, "write a positive number of epochs"),
    ({"run": {"model": {"name": "cmm"}}}, "no 'cmm'. Known: cnn"),
    ({"batch_size": 4}, "stands in samplers.x.run"),
  ],
)
def test_mistakes_in_what_a_run_has_of_its_own(sampler, message):
  config = _config(x={"name": "uniform"} | sampler)
  with pytest.raises(UserError) as mistake:
    build.check(config)
  assert message in str(mistake.value)
