"""A small experiment on generated doodles.

  python -m alcurr.main --config=configs/quickstart.py

Uniform sampling is compared with the paper's bandit, and with the same bandit
paid for progress on a uniformly drawn arm. There are 3 trials of each. It takes
about two minutes on two cores.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
  config = default.get_config()
  config.data.num_examples = 15_000
  config.samplers = ConfigDict(
    {
      "uniform": {"name": "uniform", "replacement": False},
      "bandit": default.bandit(),
      "bandit_mean": default.bandit(gain="mean_prediction_gain"),
    }
  )
  return config
