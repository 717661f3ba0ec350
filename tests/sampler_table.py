"""Every registered sampler, in one or several settings."""

from alcurr import testing

_bandit = {
  "name": "active_bandit",
  "bandit": "softmax(learning_rate=1.0)",
  "gain": "prediction_gain",
  "reward": "rank(window=50)",
  "epsilon": "0.2",
  "warmup": 2,
  "arms_per_batch": 1,
}
SAMPLERS = {
  "uniform": {"name": "uniform"},
  "uniform_replacement": {"name": "uniform", "replacement": True},
  "bandit": _bandit,
  "bandit_self": _bandit
  | {
    "gain": "self_prediction_gain(probe_size=4)",
    "epsilon": "linear(value=1.0, end=0.1)",
  },
  "bandit_mean": _bandit
  | {"gain": "mean_prediction_gain", "reward": "rank", "replacement": True},
  "bandit_target": _bandit
  | {"gain": "target_prediction_gain", "epsilon": "0", "warmup": 0},
  "bandit_gradient": _bandit
  | {"gain": "gradient_prediction_gain", "partition": "label"},
  "bandit_first_order": _bandit | {"gain": "first_order_gain", "interval": 4},
  "bandit_random": _bandit
  | {
    "gain": "random_gain",
    "partition": "label_difficulty",
    "arms_per_batch": 8,
  },
  "bandit_mixed": _bandit | {"arms_per_batch": None},
  "bandit_mixed_self": _bandit
  | {"arms_per_batch": 4, "gain": "self_prediction_gain"},
  "influence": _bandit
  | {
    "gain": "influence(probe_size=8, prepare_interval=2)",
    "interval": 2,
    "arms_per_batch": testing.BATCH_SIZE,
  },
  "influence_mixture": _bandit
  | {
    "gain": "influence(probe_size=8, mixture=(0, 1, 2, 1), mixture_of='label')",
    "arms_per_batch": testing.BATCH_SIZE,
  },
  "class_reweighting": {"name": "class_reweighting", "per_class": 3},
  "class_reweighting_every": {
    "name": "class_reweighting",
    "per_class": 3,
    "interval": 2,
    "replacement": True,
  },
  "doremi": {"name": "doremi"},
  "doremi_draws": {
    "name": "doremi",
    "weighting": "draws",
    "partition": "difficulty",
    "replacement": True,
  },
  "class_balanced": {"name": "class_balanced", "power": 0.5},
  "fixed_policy": {
    "name": "fixed_policy",
    "policy": "fixed(weights=(0, 1, 2, 3, 4))",
    "partition": "shuffled",
    "arms_per_batch": 1,
  },
  "aioli": {"name": "aioli", "interval": 1, "sweeps": 1, "per_group": 2},
  "mixture": {
    "name": "mixture",
    "weights": (3, 0, 1, 2),
    "power": 0.5,
  },
  "odm": {"name": "odm"},
  "odm_linear": {
    "name": "odm",
    "rule": "linear",
    "partition": "difficulty",
    "replacement": True,
  },
  "rb": {
    "name": "rb",
    "mixture": (1, 0, 0, 1),
    "probe_size": 8,
    "prepare_interval": 2,
  },
  "competence": {"name": "competence", "start": 0.1},
  "curriculum": {"name": "curriculum"},
  "anti_curriculum": {
    "name": "curriculum",
    "partition": "difficulty",
    "descending": True,
  },
  "bucketed_curriculum": {"name": "bucketed_curriculum"},
  "bucketed_curriculum_paced": {
    "name": "bucketed_curriculum",
    "partition": "difficulty",
    "num_buckets": 4,
    "pacing": "root",
    "start": 0.3,
    "full_at": 0.6,
  },
  "bucketed_curriculum_score": {
    "name": "bucketed_curriculum",
    "score": "difficulty",
  },
  "scored_passes": {"name": "scored_passes"},
  "rs2": {"name": "rs2", "share": 0.045, "passes": 2, "replacement": True},
  "small_loss": {"name": "small_loss", "warmup": 0.5},
  "uncertainty": {"name": "uncertainty"},
  "uncertainty_sampled": {
    "name": "uncertainty",
    "measure": "margin",
    "selection": "sampled",
    "scoring_mode": "train",
  },
  "selective_backprop": {"name": "selective_backprop", "start": 0.2},
  "selective_backprop_history": {
    "name": "selective_backprop",
    "variant": "history",
    "start": 0.0,
    "end": 1.0,
    "interrupt": 0,
    "history_size": 40,
  },
  "rho_loss": {"name": "rho_loss", "keep": 0.25},
  "rho_loss_sampled": {
    "name": "rho_loss",
    "selection": "boltzmann",
    "reference": "holdout",
  },
  "learnability": {"name": "learnability"},
  "importance_sampling": {"name": "importance_sampling", "threshold": 0.05},
  "importance_sampling_last_layer": {
    "name": "importance_sampling",
    "threshold": 0.0,
    "last_layer": True,
  },
  "greats": {"name": "greats", "probe_size": 8, "prepare_interval": 2},
  "loss_proportional": {
    "name": "loss_proportional",
    "unseen": "mean",
    "correction": 1.0,
  },
  "loshchilov_hutter": {
    "name": "loshchilov_hutter",
    "first_pass": False,
    "sort_interval": 4,
    "pressure": "exponential(value=100, end=1)",
  },
  "infobatch": {"name": "infobatch"},
  "self_paced": {"name": "self_paced", "weights": "log"},
  "dihcl": {"name": "dihcl", "measure": "change", "learning_rate": "0.5"},
  "label_trust": {"name": "label_trust", "warmup_passes": 1},
  "ies": {"name": "ies"},
}
