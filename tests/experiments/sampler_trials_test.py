"""Runs with their own settings, and runs at equal cost."""

import jax.numpy as jnp
import numpy as np
import pytest
import toy
from ml_collections import ConfigDict

from alcurr import samplers
from alcurr.core.errors import UserError
from alcurr.data.partitions import PARTITIONS
from alcurr.data.pool import make_pool
from alcurr.experiments import (
  charges,
  experiment_runner,
  setup,
)
from alcurr.experiments.config import build, plain
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
def built(tmp_path_factory):
  """A context and its pools, with random difficulties."""
  config = _config(
    wide={
      "name": "uniform",
      "run": {"batch_size": 16, "model": {"name": "cnn(width=0.5)"}},
    },
    both={"name": "uniform", "run": {"train_on": "train_and_probe"}},
    half={"name": "uniform", "run": {"budget": "0.5 epoch"}},
    smooth={"name": "uniform", "run": {"loss": "label_smoothing(amount=0.4)"}},
  )
  experiment = build.build_experiment(config)
  context = setup.load_context(experiment, tmp_path_factory.mktemp("cache"))
  rng = np.random.default_rng(0)
  pools = {}
  for name, part in context.parts.items():
    score = rng.random(len(part.label)).astype(np.float32)
    difficulty = PARTITIONS["difficulty"](part.label, score, 5)
    pools[name] = make_pool(part, score, {"difficulty": difficulty})
  pools["train_and_probe"] = pools["train"]
  return context, pools


def test_a_run_has_its_own_batch_model_and_budget(built):
  context, pools = built
  run = charges.make_run(context, "uniform", pools)
  size = len(context.parts["train"].label)
  assert (run.batch_size, run.num_steps) == (8, size // 8)
  wide = charges.make_run(context, "wide", pools)
  assert (wide.batch_size, wide.num_steps) == (16, size // 16)
  key = build.network_key(context.experiment.runs["wide"].config)
  assert "width=0.5" in key and wide.model is context.networks[key][0]
  assert wide.model is not run.model
  half = charges.make_run(context, "half", pools)
  assert half.num_steps == size // 16
  # An epoch stays one of the training pool.
  both = charges.make_run(context, "both", pools)
  assert both.num_steps == run.num_steps


def test_a_run_has_its_own_loss_and_is_measured_like_the_others(built):
  context, pools = built
  run, smooth = (
    charges.make_run(context, name, pools) for name in ("uniform", "smooth")
  )
  logits, label = jnp.array([[2.0, 0.0, 1.0]]), jnp.array([0])
  log_prob = np.log(np.exp([2, 0, 1]) / np.exp([2, 0, 1]).sum())
  target = np.array([0.6, 0, 0]) + 0.4 / 3
  np.testing.assert_allclose(run.loss(logits, label), -log_prob[:1], rtol=1e-5)
  expected = [-(target @ log_prob)]
  np.testing.assert_allclose(smooth.loss(logits, label), expected, rtol=1e-5)
  assert smooth.score is run.score


@pytest.mark.slow  # charges_test.py counts steps too
def test_at_equal_flops_a_second_forward_pass_costs_a_quarter_of_the_steps(
  built,
):
  context, pools = built
  changes = {"budget_basis": "step_flops"}
  config = plain.merge(context.experiment.config, changes)
  context = context._replace(experiment=build.build_experiment(config))
  uniform = charges.make_run(context, "uniform", pools)
  bandit = charges.make_run(context, "bandit", pools)
  ratio = bandit.num_steps / uniform.num_steps
  assert ratio == pytest.approx(0.75, abs=0.02)
  spent = [count_flops(run, pools) * run.num_steps for run in (uniform, bandit)]
  assert spent[1] <= spent[0]
  assert spent[1] == pytest.approx(spent[0], rel=0.02)


def test_a_sampler_by_a_score_needs_the_reference_model():
  config = _config(x={"name": "competence"})
  del config.samplers.bandit
  experiment = build.build_experiment(config)
  assert [score.name for score in experiment.trained_scores] == ["difficulty"]
  config.samplers.x.score = "length"
  with pytest.raises(UserError) as raised:
    build.build_experiment(config)
  assert (raised.value.code, raised.value.place) == ("unknown", "samplers.x")
  config.scores.length = {"file": "length.npy"}
  experiment = build.build_experiment(config)
  assert not experiment.trained_scores
  assert [score.name for score in experiment.file_scores] == ["length"]


def _make_pools(config, folder):
  context = setup.load_context(build.build_experiment(config), folder)
  pools, made = experiment_runner.make_pools(context, folder / "checkpoints")
  assert not made.values  # no sampler reads a score
  return context, pools


def test_the_probe_split_joins_the_training_pool(tmp_path):
  config = _config(
    both={"name": "uniform", "run": {"train_on": "train_and_probe"}}
  )
  del config.samplers.bandit
  context, pools = _make_pools(config, tmp_path)
  assert pools.keys() == {"train", "probe", "valid", "test", "train_and_probe"}
  both = np.asarray(pools["train_and_probe"].label)
  np.testing.assert_array_equal(
    both, np.concatenate([context.parts[n].label for n in ("train", "probe")])
  )


def test_without_a_probe_split_samplers_learn_from_the_valid_one(tmp_path):
  config = _config()
  config.data.probe_fraction = 0.0
  del config.samplers.bandit
  _, pools = _make_pools(config, tmp_path)
  assert pools["probe"] is pools["valid"]


@pytest.mark.parametrize(
  ("sampler", "code", "place"),
  [
    ({"run": {"epochs": 3}}, "unknown", "samplers.x.run"),
    ({"run": {"baseline": "unifrom"}}, "unknown", "baseline"),
    ({"run": {"batch_size": 0}}, "range", "samplers.x.run.batch_size"),
    ({"run": {"batch_size": "4"}}, "type", "samplers.x.run.batch_size"),
    ({"run": {"train_on": "test"}}, "unknown", "train_on"),
    ({"run": {"budget": "soon"}}, "syntax", "budget"),
    ({"run": {"model": {"name": "cmm"}}}, "unknown", "model"),
    ({"run": {"optimizer": {"name": "adma"}}}, "unknown", "optimizer.name"),
    ({"batch_size": 4}, "unknown", "samplers.x.batch_size"),
  ],
)
def test_mistakes_in_the_settings_of_a_run(sampler, code, place):
  config = _config(x={"name": "uniform"} | sampler)
  with pytest.raises(UserError) as raised:
    build.build_experiment(config)
  assert (raised.value.code, raised.value.place) == (code, place)


def test_an_argument_may_be_a_dict():
  gain = {"name": "influence", "probe_size": 4}
  bandit = {"name": "active_bandit", "gain": gain, "warmup": 2}
  experiment = build.build_experiment(_config(x=bandit))
  sampler = experiment.runs["x"].make_sampler(20)
  assert sampler.signal.prepare is not None


@pytest.mark.slow  # results do not depend on it
def test_a_sampler_is_built_once_for_each_number_of_steps(
  tmp_path, monkeypatch
):
  """Once for its checks and its spec, and once for its run."""
  built = []

  def counted(*, batch_size: int, num_steps: int, partition: str = "label"):
    built.append(num_steps)
    return samplers.fixed_policy(
      samplers.POLICIES["uniform"](),
      batch_size=batch_size,
      num_steps=num_steps,
      partition=partition,
    )

  monkeypatch.setitem(samplers.SAMPLERS, "counted", counted)
  config = _config(x={"name": "counted"})
  del config.samplers.bandit
  config.budget, config.trials, config.tracking = "6 steps", 1, "none"
  config.model.name = "cnn(width=0.1)"
  with toy.without_page():
    experiment_runner.run(config, tmp_path / "run")
  assert len(built) == len(set(built)) == 2 and built[1] == 6
