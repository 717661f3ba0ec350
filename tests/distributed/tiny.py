"""Trains a small network for a few steps, with checkpoints."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
  config = default.get_config()
  config.trials = 2
  config.batch_size = 8
  config.budget = "120 steps"
  config.chunk_steps = 3
  config.num_evals = 4
  config.checkpoint.minutes = 0.0
  config.checkpoint.steps = 6
  config.tracking = "none"
  config.data.num_examples = 400
  config.data.classes = "3"
  config.data.image_size = 12
  config.data.render = "precompute"
  config.difficulty.budget = "6 steps"
  config.difficulty.num_arms = 3
  config.model.name = "cnn(width=0.125)"
  config.samplers = ConfigDict({"bandit": default.bandit(warmup=3)})
  config.baseline = "bandit"
  return config
