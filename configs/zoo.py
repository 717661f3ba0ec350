"""Does a network train on these drawings? Uniform sampling alone.

  python -m alcurr.main --config=configs/zoo.py:model=resnet50 \
    --config.data.dir=DIR --workdir=runs/zoo/resnet50

One trial of two epochs on five classes of 64 x 64 pixels, or 80 x 80 where the
network needs it. The loss is logged eight times. To start from trained weights
add `--config.model.weights=FILE`, see the README.

Look at the training loss. In so few steps, the running statistics of batch
norms stay close to their initial values. Valid and test use them, so their
accuracies mean little.

Arguments: model (a name; its arguments go into --config.model.name), epochs.
"""

from ml_collections import ConfigDict

from configs import default


def get_config(text: str | None = None) -> ConfigDict:
  args = default.arguments(text, model="mobilenet", epochs=2)
  config = default.get_config()
  config.model.name = args["model"]
  config.data.source = "files"
  config.data.classes = "cat,dog,bicycle,apple,clock"
  config.data.on_error = "skip"
  config.data.image_size = 80 if "inception" in args["model"] else 64
  config.budget = f"{args['epochs']} epochs"
  config.trials = 1
  config.num_evals = 8
  config.samplers = ConfigDict({"uniform": {"name": "uniform"}})
  return config
