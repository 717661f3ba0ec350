"""Why full exploration loses and why batch 32 helps: each choice apart.

  python -m alcurr.main --config=configs/ablation.py --config.data.dir=DIR

Every combination of batches from one arm or mixed, with or without
replacement, BatchNorm or GroupNorm, batch 32 or 512, and what the policy over
arms is paid for: nothing (uniform over arms: full exploration), the gain of
the trained batch (the paper's), of a fresh probe of the same arm, of a
uniformly drawn arm. Each is compared with uniform sampling of the same norm
and batch size; the report has what each factor contributes to the lead.
Arguments: `trials`, `examples` (a run's budget), and a factor's name with the
one level to hold it at, such as `batch_size=512`. DIR holds Quick, Draw! files.
"""

import itertools

from ml_collections import ConfigDict

from configs import default

# The first level of each is what the others are compared with.
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
    # A tenth of the run, as the paper's 100 of 976 steps.
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


def _levels(factor: str, held: str) -> tuple:
  """All levels of a factor, or the one it is held at."""
  levels = FACTORS[factor]
  if held == "all":
    return levels
  at = tuple(level for level in levels if str(level) == held)
  if not at:
    raise ValueError(
      f"{factor} must be all or one of {', '.join(map(str, levels))}, got "
      f"{held!r}"
    )
  return at


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
