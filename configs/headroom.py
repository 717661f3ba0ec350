"""How far is a bandit from the best fixed policy?

  python -m alcurr.main --config=configs/headroom.py:noise=0.3,passes=10 \
    --config.data.dir=DIR

A grid of fixed policies over the ten difficulty arms runs at the same FLOPs as
every bandit. The report has the regret of each sampler to the best of the grid,
which is chosen on valid and reported on test. Arguments: `noise`, the share of
wrong labels planted in the training pool; `passes` over the pool, which holds
4,000 drawings where there are several passes. DIR holds Quick, Draw! files.
"""

from ml_collections import ConfigDict

from configs import default

GRID = {
  "frozen_uniform": "uniform",
  "without_easiest_1": "drop_easiest(count=1)",
  "without_easiest_2": "drop_easiest(count=2)",
  "without_easiest_3": "drop_easiest(count=3)",
  "without_hardest_1": "drop_hardest(count=1)",
  "without_hardest_2": "drop_hardest(count=2)",
  "without_hardest_3": "drop_hardest(count=3)",
  "tilt_easy": "log_linear(toward='easy', ratio=4.0)",
  "tilt_middle": "log_linear(toward='middle', ratio=4.0)",
  "tilt_hard": "log_linear(toward='hard', ratio=4.0)",
}


def base(noise: float, passes: int) -> ConfigDict:
  """Returns data, model and budget, shared with configs/influence.py."""
  config = default.get_config()
  config.trials = 5
  config.budget_basis = "step_flops"
  config.model.name = "cnn(width=0.5)"
  config.num_evals = 3
  config.chunk_steps = 50
  config.budget = f"{passes} epoch"
  config.difficulty.budget = "30000 examples"
  config.data.source = "files"
  config.data.classes = "all"
  config.data.valid_fraction = 0.1
  config.data.probe_fraction = 0.05
  config.data.label_noise = noise
  config.data.train_examples = 4_000 if passes > 1 else 0
  return config


def influence(batch_size: int, **changes) -> ConfigDict:
  """Returns the bandit that is paid for influence on the probe pool."""
  return default.bandit(
    **{
      "gain": "influence(probe_size=64, prepare_interval=4)",
      "interval": 8,
      "warmup": 0,
      "arms_per_batch": batch_size,
    }
    | changes
  )


def get_config(text: str | None = None) -> ConfigDict:
  chosen = default.arguments(text, noise=0.0, passes=1)
  config = base(**chosen)
  # As arms_per_batch: every example draws its own arm.
  batch_size = config.batch_size
  window = "rank(window=100)"
  config.samplers = ConfigDict(
    {
      "uniform": {"name": "uniform", "replacement": False},
      **{
        name: {
          "name": "fixed_policy",
          "policy": policy,
          "arms_per_batch": batch_size,
        }
        for name, policy in GRID.items()
      },
      "bandit": default.bandit(),
      "bandit_window": default.bandit(reward=window),
      "bandit_mixed": default.bandit(arms_per_batch=batch_size),
      "bandit_self": default.bandit(gain="self_prediction_gain"),
      "bandit_mean": default.bandit(gain="mean_prediction_gain"),
      "bandit_target": default.bandit(gain="target_prediction_gain"),
      "bandit_gradient": default.bandit(gain="gradient_prediction_gain"),
      "bandit_first_order": default.bandit(gain="first_order_gain"),
      "random_reward": default.bandit(gain="random_gain"),
      "influence": influence(batch_size),
      "influence_window": influence(batch_size, reward=window),
    }
  )
  # For the report: regret is to the best of these on valid.
  config.grid = ("uniform", *GRID)
  return config
