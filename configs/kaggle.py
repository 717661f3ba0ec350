"""Kaggle's Doodle Recognition challenge: 340 classes, scored by MAP@3.

  alcurr run kaggle --config.data.dir=DIR
  alcurr run kaggle:size=small --config.data.dir=DIR
  alcurr predict runs/kaggle/runs/uniform --data=test_simplified.csv --out=a.csv

DIR holds Kaggle's train_simplified, or other files of drawings. Uniform
sampling is compared with the paper's bandit and the bandit paid for influence.
The model is MobileNet at 128 x 128 pixels, where later strokes are dimmer. The
batch size is 512, for one pass, with Adam and a cosine schedule to zero.
results.csv and the report have top-1, top-3 and MAP@3 (`map3`) on held-out
drawings. Only Kaggle knows the labels of the challenge's own test set.

size=full is for a GPU. size=small tries all of it on a CPU, on at most 300
drawings a class: the small CNN at 28 x 28 pixels, three passes, batches of 32.

Other arguments: model (a name of alcurr.models; its arguments go into
--config.model.name), batch_size, epochs, and trials, whose probabilities are
averaged in a submission.
"""

from ml_collections import ConfigDict

from configs import default, headroom

SIZES = {
  "full": {"model": "mobilenet", "batch_size": 512, "epochs": 1.0},
  "small": {"model": "cnn", "batch_size": 32, "epochs": 3.0},
}


def get_config(text: str | None = None) -> ConfigDict:
  size = default.arguments(text, size="full", **SIZES["full"], trials=1)["size"]
  if size not in SIZES:
    raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}")
  args = default.arguments(text, size=size, **SIZES[size], trials=1)
  config = default.get_config()
  config.model.name = args["model"]
  config.trials = args["trials"]
  config.budget = f"{args['epochs']} epochs"
  config.batch_size = config.eval_batch_size = args["batch_size"]
  config.chunk_steps = 100
  config.num_evals = 20
  config.optimizer.learning_rate = 2e-3
  config.data.source = "files"
  config.data.classes = "all"
  config.data.on_error = "skip"
  config.data.image_size = 128
  config.data.stroke_decay = 0.5
  # Half a million each of 50 million drawings; increase it for fewer.
  config.data.valid_fraction = config.data.test_fraction = 0.01
  # Enough for the reference model to tell easy from hard.
  config.difficulty.budget = "0.1 epochs"
  if size == "small":
    config.chunk_steps, config.num_evals = 20, 6
    config.data.image_size, config.data.max_per_class = 28, 300
    config.data.valid_fraction = config.data.test_fraction = 0.1
    config.difficulty.budget = "1 epoch"
  config.samplers = ConfigDict(
    {
      "uniform": {"name": "uniform", "replacement": False},
      "bandit": default.bandit(),
      "influence": headroom.influence(args["batch_size"]),
    }
  )
  return config
