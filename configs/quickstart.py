"""The whole experiment in small, on generated doodles.

  python -m alcurr.main --config=configs/quickstart.py

Uniform sampling against the paper's bandit and against the same bandit paid
for progress on a uniformly drawn arm; 3 trials each, on two cores in about
two minutes.
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
