"""A config's network that scores candidates, from building to prediction."""

import json

import numpy as np
import pytest
import toy
from ml_collections import ConfigDict
from refusal import refused

from alcurr.experiments import charges, experiment_runner, predict, setup
from alcurr.experiments.config import build
from alcurr.experiments.pools import host_pools
from alcurr.training.run import count_flops
from configs import default


def _config(**scoring_model):
  """Trains on small losses with a scorer, without one, and uniformly."""
  config = default.get_config()
  config.trials = 2
  config.batch_size = 16
  config.budget = "20 steps"
  config.num_evals = 1
  config.data.num_examples = 600
  config.data.classes = "4"
  config.data.image_size = 16
  small_loss = {"name": "small_loss", "keep": 0.25, "warmup": 0.0}
  config.samplers = ConfigDict(
    {
      "uniform": {"name": "uniform"},
      "own": small_loss,
      "scored": small_loss | {"run": {"scoring_model": scoring_model}},
    }
  )
  return config


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """A finished experiment whose scorer has parameters of its own."""
  workdir = tmp_path_factory.mktemp("scored") / "experiment"
  with toy.without_page():
    experiment_runner.run(_config(name="cnn(width=0.25)"), workdir)
  return workdir


def _flops(workdir, name):
  path = workdir / "runs" / name / "result.json"
  return json.loads(path.read_text())["flops_per_step"]


@pytest.mark.slow
def test_a_small_scorer_trains_and_costs_less(workdir):
  """Four candidates for each example trained on, scored by a small network."""
  uniform, own, scored = (
    _flops(workdir, name) for name in ("uniform", "own", "scored")
  )
  assert uniform < scored < own
  # A forward pass on 4 B costs 4 / 3 of the update; then a fraction of it.
  assert own / uniform > 2 and scored / uniform < 1.6


@pytest.mark.slow
def test_a_run_with_a_scorer_predicts_by_its_model(workdir):
  images = np.zeros((3, 16, 16, 1), np.float32)
  predicted = predict.predict_probabilities(workdir / "runs" / "scored", images)
  assert predicted.probability.shape == (3, 4)
  np.testing.assert_allclose(predicted.probability.sum(1), 1, rtol=1e-5)


def test_a_scorer_in_bfloat16_shares_the_parameters(tmp_path):
  config = _config(name="cnn(dtype='bfloat16')", shared=True)
  experiment = build.build_experiment(config)
  context = setup.load_context(experiment, tmp_path)
  runs = experiment.runs
  models = {
    name: context.networks[build.network_key(run.config)][0]
    for name, run in runs.items()
  }
  assert models["scored"].scoring is not None
  assert models["own"] is models["uniform"] and models["own"].scoring is None
  pools = host_pools(context)
  run = charges.make_run(context, "scored", pools)
  own = charges.make_run(context, "own", pools)
  assert count_flops(run, pools) == pytest.approx(
    count_flops(own, pools), rel=0.1
  )


@pytest.mark.parametrize(
  ("fields", "code", "place"),
  [
    ({"name": "cnn(width=0.5)", "shared": True}, "argument", "scoring_model"),
    ({"name": "no_such"}, "unknown", "scoring_model"),
    (
      {"name": 3.5, "shared": "no"},
      "type",
      "samplers.scored.run.scoring_model.shared",
    ),
  ],
)
def test_scorers_that_do_not_fit(fields, code, place):
  with refused(code, place):
    build.build_experiment(_config(**fields))


def test_a_run_without_candidates_has_nothing_to_score():
  config = _config(name="cnn(width=0.25)")
  config.scoring_model.name = "cnn(width=0.5)"  # the uniform run's too
  with refused("conflict", "scoring_model"):
    build.build_experiment(config)
