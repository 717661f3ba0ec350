"""Every choice of the bandit side by side, on real drawings.

  python -m alcurr.main --config=configs/doodles.py --config.data.dir=DIR

DIR holds Quick, Draw! files as Google publishes them: <class>.ndjson
(simplified or raw) or full_numpy_bitmap_<class>.npy.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
  config = default.get_config()
  config.data.source = "files"
  config.data.valid_fraction = 0.1
  config.budget = "30000 examples"
  config.difficulty.budget = "30000 examples"
  config.samplers = ConfigDict(
    {
      "uniform": {"name": "uniform", "replacement": False},
      "uniform_replacement": {"name": "uniform", "replacement": True},
      "bandit": default.bandit(),
      "bandit_self": default.bandit(gain="self_prediction_gain"),
      "bandit_mean": default.bandit(gain="mean_prediction_gain"),
      "bandit_target": default.bandit(gain="target_prediction_gain"),
      "bandit_gradient": default.bandit(gain="gradient_prediction_gain"),
      "bandit_window": default.bandit(reward="rank(window=500)"),
      "bandit_mixed": default.bandit(arms_per_batch=config.batch_size),
    }
  )
  return config
