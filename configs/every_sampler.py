"""Every sampler of the library, with its defaults, on the same drawings.

  python -m alcurr.main --config=configs/every_sampler.py:noise=0.3 \
    --config.data.dir=DIR --workdir=runs/every_sampler/noise0.3

Ten passes over 4,000 drawings by a small CNN, five trials. Each run costs as
many FLOPs as one of `uniform`, reference models included. DIR holds Quick,
Draw! files. Arguments: `noise`, the share of wrong labels planted in the
training pool; `passes` over the pool; `trials`.

The figures compare defaults. None was tuned for these drawings, so a sampler
that loses here may win elsewhere: docs/samplers.md says what each is made for.
"""

from ml_collections import ConfigDict

from alcurr.samplers import SAMPLERS
from configs import default, headroom

# Arguments that a sampler requires, or that fit drawings without groups: the
# classes are the groups.
ARGUMENTS = {
  "fixed_policy": {"policy": "uniform"},
  **{
    name: {"partition": "label"}
    for name in ("aioli", "doremi", "mixture", "odm", "rb")
  },
}


def get_config(text: str | None = None) -> ConfigDict:
  args = default.arguments(text, noise=0.0, passes=10, trials=5)
  config = headroom.base(noise=args["noise"], passes=args["passes"])
  config.trials = args["trials"]
  config.budget_basis = "flops"
  # Of the ten passes that a run has, so that most are left to train on.
  config.difficulty.budget = "1 epoch"
  config.samplers = ConfigDict(
    {
      name: {"name": name, **ARGUMENTS.get(name, {})}
      for name in ("uniform", *sorted(SAMPLERS.data.keys() - {"uniform"}))
    }
  )
  return config
