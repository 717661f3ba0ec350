"""The paper's samplers in a fair comparison.

  python -m alcurr.main --config=configs/honest.py --config.data.dir=DIR

The protocol:

- Equal FLOPs. Everything is charged except the difficulty scores, which are
  reported separately.
- The learning rate decays to zero within each run's own budget.
- Every sampler tries the same three learning rates; the best is chosen on
  valid.
- Samplers learn from a probe split, apart from the valid and test splits.
- Ten trials.
- Controls: random rewards, uniform over arms, shuffled difficulty, the
  curriculum reversed, class-balanced, with replacement.

Arguments: `trials`, `batch`, `model` (a name of alcurr.models) and `rates`, the
learning rates separated by spaces. DIR holds Quick, Draw! files.
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
    # The same draws, without the gains that it ignores.
    "full_exploration": ConfigDict({**uniform_arms, "arms_per_batch": 1}),
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
    "class_balanced": ConfigDict({"name": "class_balanced", "power": 0.0}),
    "uniform_replacement": ConfigDict({"name": "uniform", "replacement": True}),
  }


def _name(sampler: str, rate: float) -> str:
  # All digits, since two rates are two runs. A ConfigDict key has no dot.
  _, digits, exponent = Decimal(repr(rate)).normalize().as_tuple()
  return f"{sampler}-lr{''.join(map(str, digits))}e{exponent:+03d}"


def get_config(text: str | None = None) -> ConfigDict:
  chosen = default.arguments(
    text, trials=10, batch=32, model="cnn", rates=(1e-3, 3e-3, 1e-2)
  )
  # Sorted: the report marks a best rate at an end of the range.
  rates = sorted(set(chosen["rates"]))
  config = default.get_config()
  config.trials = chosen["trials"]
  config.batch_size = chosen["batch"]
  config.model.name = chosen["model"]
  config.budget_basis = "step_flops"
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
