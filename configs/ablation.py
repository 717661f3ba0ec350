"""Why does full exploration lose, and why does batch size 32 help?

  python -m alcurr.main --config=configs/ablation.py --config.data.dir=DIR

A full factorial design of five choices:

  batches      from one arm, or mixed
  replacement  without, or with
  norm         BatchNorm, or GroupNorm
  batch_size   32, or 512
  gain         none (full exploration: uniform over arms), or the gain on the
               training batch (the paper's), on a fresh probe of the same arm,
               or on a fresh probe of a uniformly drawn arm

Each cell is compared with uniform sampling of the same norm and batch size.
The report has the effect of each factor on the lead over that baseline.
Arguments: `trials`, `examples` (the budget of a run), and the name of a factor
with the level to fix it at, such as `batch_size=512`. DIR holds Quick, Draw!
files.
"""

import itertools

from ml_collections import ConfigDict

from configs import default

# The other levels of a factor are compared with its first.
FACTORS = {
  "batches": ("one arm", "mixed"),
  "replacement": ("without", "with"),
  "norm": ("batch", "group"),
  "batch_size": (32, 512),
  "gain": ("none", "trained", "self", "mean"),
}
GAINS = {
  "trained": "prediction_gain",
  "self": "self_prediction_gain",
  "mean": "mean_prediction_gain",
}


def _cell(
  batches: str,
  replacement: str,
  norm: str,
  batch_size: int,
  gain: str,
  examples: int,
) -> ConfigDict:
  shared = {
    "arms_per_batch": 1 if batches == "one arm" else batch_size,
    "replacement": replacement == "with",
  }
  if gain == "none":
    cell = ConfigDict(
      {"name": "fixed_policy", "policy": "uniform", "partition": "difficulty"}
    )
    cell.update(shared)
  else:
    # A tenth of the run, like the paper's 100 of 976 steps.
    warmup = examples // batch_size // 10
    cell = default.bandit(gain=GAINS[gain], warmup=warmup, **shared)
  cell.run = _run(norm, batch_size)
  return cell


def _run(norm: str, batch_size: int) -> ConfigDict:
  return ConfigDict(
    {
      "model": {"name": f"cnn(width=0.25, norm='{norm}')"},
      "batch_size": batch_size,
      "baseline": f"uniform_{norm}_{batch_size}",
    }
  )


def _levels(factor: str, fixed: str) -> tuple:
  """Returns all levels of a factor, or the one that it is fixed at."""
  levels = FACTORS[factor]
  if fixed == "all":
    return levels
  chosen = tuple(level for level in levels if str(level) == fixed)
  if not chosen:
    raise ValueError(
      f"{factor} must be all or one of {', '.join(map(str, levels))}, got "
      f"{fixed!r}"
    )
  return chosen


def get_config(text: str | None = None) -> ConfigDict:
  chosen = default.arguments(
    text, trials=5, examples=20_000, **dict.fromkeys(FACTORS, "all")
  )
  factors = {factor: _levels(factor, chosen[factor]) for factor in FACTORS}
  config = default.get_config()
  config.trials = chosen["trials"]
  config.budget = config.difficulty.budget = f"{chosen['examples']} examples"
  config.num_evals = 1
  config.chunk_steps = 100
  config.model.name = "cnn(width=0.25, norm='group')"
  config.data.source = "files"
  config.data.classes = "all"
  config.samplers = ConfigDict()
  for norm, batch_size in itertools.product(
    factors["norm"], factors["batch_size"]
  ):
    name = f"uniform_{norm}_{batch_size}"
    config.samplers[name] = {"name": "uniform", "replacement": False}
    config.samplers[name].run = _run(norm, batch_size)
  config.baseline = next(iter(config.samplers))
  # For the report: the levels of each factor, and each sampler's levels.
  config.factors = ConfigDict(
    {factor: tuple(map(str, levels)) for factor, levels in factors.items()}
  )
  config.cells = ConfigDict()
  for levels in itertools.product(*factors.values()):
    level = dict(zip(factors, levels, strict=True))
    name = "-".join(str(v).replace(" ", "_") for v in levels)
    config.samplers[name] = _cell(**level, examples=chosen["examples"])
    config.cells[name] = {k: str(v) for k, v in level.items()}
  return config
