"""Settings and controls of the bandit paid for influence on held-out drawings.

  python -m alcurr.main \
    --config=configs/influence.py:noise=0.3,passes=10,part=controls \
    --config.data.dir=DIR

Pools, model and budget are those of configs/headroom.py. Arguments: `noise` and
`passes` as there; `probe=noisy` plants the same share of wrong labels in the
probe pool; `part` is one of:

  controls  uniform with the probe pool added to its training data, shuffled
            influences, arms of shuffled difficulty, random rewards
  arms      quantiles within each class (the default), quantiles over the pool,
            classes, class x difficulty
  settings  one change at a time: probe size, interval, prepare_interval,
            window, learning rate, exploration
  all       all three
"""

from ml_collections import ConfigDict

from configs import default, headroom


def _gain(**changes) -> str:
  arguments = {"probe_size": 64, "prepare_interval": 4} | changes
  text = ", ".join(f"{name}={value}" for name, value in arguments.items())
  return f"influence({text})"


# Changes to `headroom.influence`.
SETTINGS = {
  "probe_16": {"gain": _gain(probe_size=16)},
  "probe_256": {"gain": _gain(probe_size=256, prepare_interval=16)},
  "every_1": {"gain": _gain(prepare_interval=32), "interval": 1},
  "every_4": {"gain": _gain(prepare_interval=8), "interval": 4},
  "every_32": {"gain": _gain(prepare_interval=1), "interval": 32},
  "refresh_1": {"gain": _gain(probe_size=16, prepare_interval=1)},
  "refresh_16": {"gain": _gain(prepare_interval=16)},
  "window_100": {"reward": "rank(window=100)"},
  "rate_low": {"bandit": "softmax(learning_rate=0.05)"},
  "rate_high": {"bandit": "softmax(learning_rate=1.0)"},
  "epsilon_low": {"epsilon": "0.05"},
  "epsilon_high": {"epsilon": "0.5"},
}
ARMS = {
  "in_pool": {"partition": "difficulty_in_pool"},
  "label": {"partition": "label"},
  "label_difficulty": {"partition": "label_difficulty"},
}
CONTROLS = {
  "shuffled_gain": {"gain": _gain(shuffled=True)},
  "shuffled_arms": {"partition": "shuffled"},
}


def get_config(text: str | None = None) -> ConfigDict:
  chosen = default.arguments(
    text, noise=0.3, passes=10, part="all", probe="clean"
  )
  part, probe = chosen.pop("part"), chosen.pop("probe")
  parts = {"settings": SETTINGS, "arms": ARMS, "controls": CONTROLS}
  if part not in (*parts, "all") or probe not in ("clean", "noisy"):
    raise ValueError(
      f"part must be one of {', '.join(parts)}, all, and probe clean or "
      f"noisy, got {part!r} and {probe!r}"
    )
  config = headroom.base(**chosen)
  if probe == "noisy":
    config.data.label_noise_in = "train,probe"
  config.samplers = ConfigDict(
    {
      "uniform": {"name": "uniform", "replacement": False},
      "influence": headroom.influence(config.batch_size),
    }
  )
  for name, variants in parts.items():
    if part in (name, "all"):
      for variant, changes in variants.items():
        config.samplers[f"influence_{variant}"] = headroom.influence(
          config.batch_size, **changes
        )
  if part in ("controls", "all"):
    config.samplers.uniform_with_probe = ConfigDict(
      {
        "name": "uniform",
        "replacement": False,
        "run": {"train_on": "train_and_probe"},
      }
    )
    config.samplers.random_reward = headroom.influence(
      config.batch_size, gain="random_gain"
    )
  return config
