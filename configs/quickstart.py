"""A small experiment on generated doodles, some of them with wrong labels.

  python -m alcurr.main --config=configs/quickstart.py

30 % of the labels are wrong: each class is taken for another one. Uniform
sampling is compared with `label_trust`, which finds wrong labels and trusts
them less, and with the paper's bandit. There are 5 trials of each. It takes
under three minutes on two cores.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
  config = default.get_config()
  config.data.num_examples = 3_000
  config.data.classes = "15"
  config.data.label_noise = 0.3
  config.data.label_noise_kind = "pairs"
  config.model.name = "cnn(width=0.25)"
  config.trials = 5
  config.budget = "10 epochs"
  config.samplers = ConfigDict(
    {
      "uniform": {"name": "uniform", "replacement": False},
      "label_trust": {"name": "label_trust"},
      "bandit": default.bandit(),
    }
  )
  return config
