"""Evidence of what helps when: every method worth its place, in one regime.

  python -m benchmarks.five_sources --target numpy_bitmap \
    --foreign fashion_mnist/train.npz --out five_sources
  python -m alcurr.main \
    --config=configs/evidence.py:regime=sources,probe=128,dir=five_sources

Paired trials; each run costs as many FLOPs as one of the baseline, with
everything charged. Every method has one setting for all regimes. Arguments:
`regime`, `trials`, `dir` of the data, and those of the regime:

  sources  five sources, two of them of use for a target; the samplers learn
           from `probe` trusted examples of it. `frozen`: weights of the
           sources for a further fixed policy, such as the last of a bandit.
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from configs import default, headroom

# By name, as a ConfigDict has them: the order of the groups.
SOURCES = ("distorted", "foreign", "mislabelled", "real", "synthetic")
_INFLUENCE = "influence(probe_size=64, prepare_interval=4)"
# Shares of the two sources of use, real and distorted.
_PAIRS = {"pair_even": (1, 1), "pair_real": (3, 1), "pair_distorted": (1, 3)}


def _fixed(*weights: float) -> dict[str, str]:
  policy = f"fixed(weights={tuple(map(float, weights))})"
  return {"name": "fixed_policy", "policy": policy, "partition": "groups"}


def _bandit(**changes) -> ConfigDict:
  """Returns the bandit over sources.

  Its step is five times the default: a run has few measurements, and a source
  that harms is told from the others by the first ten.
  """
  return default.bandit(
    **{
      "partition": "groups",
      "bandit": "softmax(learning_rate=1.0)",
      "reward": "z_score",
      "epsilon": "0.05",
      "interval": 8,
      "warmup": 0,
    }
    | changes
  )


def _of_sources() -> dict[str, dict]:
  """Returns the fixed policies: the sources alike, alone, and pairs of them."""
  alone = {
    f"only_{name}": _fixed(*(float(name == other) for other in SOURCES))
    for name in SOURCES
  }
  pairs = {
    name: _fixed(distorted, 0, 0, real, 0)
    for name, (real, distorted) in _PAIRS.items()
  }
  uniform = {"name": "fixed_policy", "policy": "uniform", "partition": "groups"}
  return {"stratified": uniform, **alone, **pairs}


def sources(args: dict) -> ConfigDict:
  """Returns the config of five sources, two of use."""
  config = headroom.base(noise=0.0, passes=1)
  config.budget = "20000 examples"
  config.model.name = "cnn(width=0.25)"
  config.optimizer.learning_rate = 3e-3
  config.num_evals = 1
  config.chunk_steps = 125
  config.data = default.get_config().data
  config.data.source = "npz"
  config.data.sources = ConfigDict(
    {name: {"dir": f"{args['dir']}/{name}.npz"} for name in SOURCES}
  )
  for split, name in (
    ("valid", "valid"),
    ("test", "test"),
    ("probe", f"probe{args['probe']}"),
  ):
    config.data[f"{split}_dir"] = f"{args['dir']}/{name}.npz"
  config.scores.irreducible.update(train_on="probe", budget="4000 examples")
  config.difficulty.update(train_on="probe", budget="4000 examples")
  grid = _of_sources()
  probing = {"train_on": "train_and_probe"}
  config.samplers = ConfigDict(
    {
      "natural": {"name": "uniform", "replacement": False},
      **grid,
      "influence": _bandit(gain=_INFLUENCE, arms_per_batch=None),
      "influence_defaults": headroom.influence(None, partition="groups"),
      "target_gain": _bandit(gain="target_prediction_gain"),
      "rb": {"name": "rb", "interval": 8, "prepare_interval": 4},
      "greats": {"name": "greats", "prepare_interval": 4},
      "odm": {"name": "odm"},
      "doremi": {"name": "doremi"},
      "rho_loss": {"name": "rho_loss"},
      "random_reward": _bandit(gain="random_gain"),
      "natural_with_probe": {"name": "uniform", "run": probing},
      "stratified_with_probe": {**grid["stratified"], "run": probing},
    }
  )
  if any(args["frozen"]):
    config.samplers.frozen_final = _fixed(*args["frozen"])
  config.baseline = "stratified"
  # For the report: regret is to the best of these on valid.
  config.grid = ("natural", *grid)
  return config


REGIMES: dict[str, Callable[[dict], ConfigDict]] = {"sources": sources}


def get_config(text: str | None = None) -> ConfigDict:
  args = default.arguments(
    text,
    regime="sources",
    trials=10,
    dir="five_sources",
    probe=128,
    frozen=(0.0,),
  )
  if args["regime"] not in REGIMES:
    known = ", ".join(REGIMES)
    raise ValueError(f"regime must be one of {known}, got {args['regime']!r}")
  config = REGIMES[args["regime"]](args)
  config.trials = args["trials"]
  config.budget_basis = "flops"
  return config
