"""Evidence of what helps when: every method worth its place, in one regime.

  python -m alcurr.main --config=configs/evidence.py:regime=noise30 \
    --config.data.dir=DIR --workdir=runs/evidence/noise30

Paired trials; each run costs as many FLOPs as one of the baseline, with
everything charged. Every method has one setting for all regimes. DIR holds
Quick, Draw! files, or other data: `--config.data.source=folder`. Arguments:
`regime` and `trials`. The regimes, of 4,000 examples and ten passes unless they
say otherwise:

  clean      the labels as they are
  short      four passes
  one_pass   all examples, once
  one_pass_noise30  the same with 30 % of the labels wrong, uniformly
  noise10    10 % of the labels wrong, uniformly
  noise30    30 %
  pairs      30 % wrong, each class taken for another one
  human      labels by people: train.npz and test.npz in the argument `dir`, as
             `python -m benchmarks.human_labels` writes them
  imbalance  the largest class has 50 times the examples of the smallest
  copies     each drawing four times, moved a little, and a quarter of the steps

`oracle` knows the planted mistakes. And, of several sources:

  python -m benchmarks.five_sources --target numpy_bitmap \
    --foreign fashion_mnist/train.npz --out five_sources
  python -m alcurr.main \
    --config=configs/evidence.py:regime=sources,probe=128,dir=five_sources

  sources  five sources, two of them of use for a target; the samplers learn
           from `probe` trusted examples of it. `frozen`: weights of the
           sources for a further fixed policy, such as the last of a bandit.
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from configs import default, headroom
from configs import sources as several

# The arms are the labels that are right, and those that were made wrong.
_ORACLE = {
  "name": "fixed_policy",
  "policy": "fixed(weights=(1.0, 0.0))",
  "partition": "planted",
}


def _with_loss(sampler: str, loss: str) -> dict:
  return {"name": sampler, "run": {"loss": loss}}


def _of_labels(passes: int = 10, noise: float = 0.0) -> ConfigDict:
  """Returns the methods for labels of one source, right or wrong."""
  config = headroom.base(noise=noise, passes=passes)
  config.samplers = ConfigDict(
    {
      **{name: {"name": name} for name in ("uniform", "label_trust")},
      "smoothing": _with_loss("uniform", "label_smoothing"),
      "trust_smoothing": _with_loss("label_trust", "label_smoothing"),
      "gce": _with_loss("uniform", "gce"),
      **{
        name: {"name": name}
        for name in ("self_paced", "infobatch", "selective_backprop")
      },
    }
  )
  if noise:
    config.samplers.oracle = _ORACLE
    config.grid = ("uniform", "oracle")
  return config


def _noise(share: float, kind: str = "uniform") -> ConfigDict:
  config = _of_labels(noise=share)
  config.data.label_noise_kind = kind
  config.samplers.update(
    elr=_with_loss("uniform", "elr"), trust_elr=_with_loss("label_trust", "elr")
  )
  return config


def _one_pass_noise(args: dict) -> ConfigDict:
  """Returns the config of a single pass: no label is ever seen again."""
  config = _of_labels(passes=1, noise=0.3)
  config.samplers.update(small_loss={"name": "small_loss"})
  return config


def _human(args: dict) -> ConfigDict:
  config = _noise(0.0)
  config.data.source = "npz"
  config.data.dir = f"{args['dir']}/train.npz"
  config.data.test_dir = f"{args['dir']}/test.npz"
  return config


def _imbalance(args: dict) -> ConfigDict:
  """Returns the config of classes of which one has 50 times another's size."""
  config = _of_labels()
  config.data.imbalance = 50.0
  config.samplers.update(
    class_balanced={"name": "class_balanced"},
    logit_adjustment=_with_loss("uniform", "logit_adjustment"),
  )
  return config


def _copies(args: dict) -> ConfigDict:
  """Returns the config of drawings that are four times in the pool."""
  config = _of_labels()
  config.data.copies = 4
  config.augment = "affine(shift=0.05)"
  config.budget = "2.5 epochs"
  return config


# By name, as a ConfigDict has them: the order of the groups.
SOURCES = ("distorted", "foreign", "mislabelled", "real", "synthetic")
# Shares of the two sources of use, real and distorted.
_PAIRS = {"pair_even": (1, 1), "pair_real": (3, 1), "pair_distorted": (1, 3)}


def _fixed(*weights: float) -> dict[str, str]:
  policy = f"fixed(weights={tuple(map(float, weights))})"
  return {"name": "fixed_policy", "policy": policy, "partition": "groups"}


def _paid(gain: str) -> ConfigDict:
  """Returns the bandit over sources that is paid for gains of whole batches."""
  return several.bandit(gain=gain, arms_per_batch=1)


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
  grid = _of_sources()
  probing = {"train_on": "train_and_probe"}
  config.samplers = ConfigDict(
    {
      "natural": {"name": "uniform", "replacement": False},
      **grid,
      "influence": several.bandit(),
      "target_gain": _paid("target_prediction_gain"),
      "greats": {"name": "greats", "prepare_interval": 4},
      "odm": {"name": "odm"},
      "random_reward": _paid("random_gain"),
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


REGIMES: dict[str, Callable[[dict], ConfigDict]] = {
  "clean": lambda args: _of_labels(),
  "short": lambda args: _of_labels(passes=4),
  "one_pass": lambda args: _of_labels(passes=1),
  "one_pass_noise30": _one_pass_noise,
  "noise10": lambda args: _noise(0.1),
  "noise30": lambda args: _noise(0.3),
  "pairs": lambda args: _noise(0.3, "pairs"),
  "human": _human,
  "imbalance": _imbalance,
  "copies": _copies,
  "sources": sources,
}


def get_config(text: str | None = None) -> ConfigDict:
  args = default.arguments(
    text,
    regime="noise30",
    trials=10,
    dir=".",
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
