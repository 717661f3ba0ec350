"""The paper's samplers under the protocol of an honest comparison.

  python -m alcurr.main --config=configs/honest.py --config.data.dir=DIR

Equal FLOPs with everything charged but the difficulty scores (shown apart),
the learning rate to zero within each run's own budget, the same three learning
rates for every sampler and the best of them chosen on valid, what samplers
learn from apart from what selects and what tests, ten trials, and the
controls: random rewards, uniform over arms, shuffled difficulty, the
curriculum backwards, class-balanced, with replacement. Arguments: `trials`,
`batch`, `model`, one of alcurr.models, and `rates`, those learning rates with
spaces between them. DIR holds Quick, Draw! files.
"""

from decimal import Decimal

from ml_collections import ConfigDict

from configs import default, headroom, paper


def _samplers(batch_size: int, warmup: int) -> dict[str, ConfigDict]:
  bandit = default.bandit
  uniform_arms = ConfigDict(
    {"name": "fixed_policy", "policy": "uniform", "partition": "difficulty"}
  )
  return {
    **paper.samplers(warmup),
    # The same draws without the gains, which it does not look at.
    "full_exploration": uniform_arms,
    "bandit_mean": bandit(gain="mean_prediction_gain", warmup=warmup),
    "bandit_target": bandit(gain="target_prediction_gain", warmup=warmup),
    "bandit_first_order": bandit(gain="first_order_gain", warmup=warmup),
    "influence": headroom.influence(batch_size),
    # Controls.
    "random_reward": bandit(gain="random_gain", warmup=warmup),
    "uniform_arms": ConfigDict({**uniform_arms, "arms_per_batch": batch_size}),
    "shuffled_curriculum": ConfigDict(
      {"name": "bucketed_curriculum", "num_buckets": 3, "partition": "shuffled"}
    ),
    "anti_curriculum": ConfigDict(
      {
        "name": "curriculum",
        "partition": "difficulty_in_pool",
        "descending": True,
      }
    ),
    "balanced_curriculum": ConfigDict(
      {"name": "curriculum", "partition": "difficulty", "descending": False}
    ),
    "class_balanced": ConfigDict(
      {
        "name": "fixed_policy",
        "policy": "uniform",
        "partition": "label",
        "arms_per_batch": batch_size,
      }
    ),
    "uniform_replacement": ConfigDict({"name": "uniform", "replacement": True}),
  }


def _name(sampler: str, rate: float) -> str:
  # All digits, for two rates are two runs; a ConfigDict's key has no point.
  _, digits, exponent = Decimal(repr(rate)).normalize().as_tuple()
  return f"{sampler}-lr{''.join(map(str, digits))}e{exponent:+03d}"


def get_config(text: str | None = None) -> ConfigDict:
  chosen = default.arguments(
    text, trials=10, batch=32, model="cnn", rates=(1e-3, 3e-3, 1e-2)
  )
  # In order: the report marks a best one at an end of the range.
  rates = sorted(set(chosen["rates"]))
  config = default.get_config()
  config.trials = chosen["trials"]
  config.batch_size = chosen["batch"]
  config.model.name = chosen["model"]
  config.budget_basis = "flops"
  config.data.source = "files"
  config.data.classes = "all"
  config.data.valid_fraction = 0.1
  config.data.probe_fraction = 0.05
  config.baseline = _name("uniform", rates[0])
  config.samplers = ConfigDict()
  # For the report: the runs among which each sampler's rate is chosen.
  config.best_setting = ConfigDict()
  for name, sampler in _samplers(chosen["batch"], warmup=100).items():
    runs = []
    for rate in rates:
      run = _name(name, rate)
      config.samplers[run] = ConfigDict(sampler)
      config.samplers[run].run = ConfigDict(
        {
          "optimizer": {"learning_rate": rate},
          "baseline": _name("uniform", rate),
        }
      )
      runs.append(run)
    config.best_setting[name] = tuple(runs)
  return config
