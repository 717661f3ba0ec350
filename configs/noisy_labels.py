"""Wrong labels: losses against a sampler that finds them.

  for loss in cross_entropy label_smoothing gce elr superloss; do
    python -m alcurr.main --config=configs/noisy_labels.py:loss=$loss \
      --config.data.dir=DIR --workdir=runs/noisy_labels/$loss
  done

`uniform` and `label_trust` on the data of configs/every_sampler.py. DIR holds
Quick, Draw! files. Arguments: `noise`, the share of wrong labels planted in the
training pool; `loss`, of training; `passes` over the pool; `trials`.
"""

from ml_collections import ConfigDict

from configs import default, headroom


def get_config(text: str | None = None) -> ConfigDict:
  args = default.arguments(
    text, noise=0.3, loss="cross_entropy", passes=10, trials=5
  )
  config = headroom.base(noise=args["noise"], passes=args["passes"])
  config.trials = args["trials"]
  config.budget_basis = "flops"
  config.loss = args["loss"]
  config.samplers = ConfigDict(
    {name: {"name": name} for name in ("uniform", "label_trust")}
  )
  return config
