"""Trains for seconds, with many chunks, evaluations and checkpoints."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
  config = default.get_config()
  config.trials = 2
  config.batch_size = 8
  config.budget = "96 steps"
  config.chunk_steps = 8
  config.num_evals = 6
  config.checkpoint.minutes = 0.0
  config.checkpoint.steps = 16
  config.data.source = "files"
  config.data.classes = "all"
  config.data.image_size = 16
  config.data.render = "precompute"
  config.difficulty.budget = "48 steps"
  config.difficulty.num_arms = 3
  config.model.name = "cnn(width=0.25)"
  config.samplers = ConfigDict(
    {
      "uniform": {"name": "uniform", "replacement": False},
      "bandit": default.bandit(gain="mean_prediction_gain", warmup=20),
    }
  )
  return config
