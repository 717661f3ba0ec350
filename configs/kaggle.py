"""Kaggle's Doodle Recognition challenge: 340 classes, scored by MAP@3.

  python -m alcurr.main --config=configs/kaggle.py --config.data.dir=DIR
  python -m alcurr.experiments.predict runs/kaggle/runs/uniform \
    --data=test_simplified.csv --out=submission.csv

DIR holds Kaggle's train_simplified (or any other files of drawings). Uniform
sampling against the paper's bandit and the one paid in influence: MobileNet at
128 x 128 pixels, strokes dimmed in the order of drawing, batch 512, one pass,
Adam with a cosine to zero.
results.csv and the report have top-1, top-3 and MAP@3 (`map3`) of the drawings
held out; on those of the challenge only Kaggle knows.

For a GPU. Arguments: model (a name of alcurr.models; its arguments go into
--config.model.name), batch_size, epochs and trials, whose probabilities are
averaged in a submission.
"""

from ml_collections import ConfigDict

from configs import default, headroom


def get_config(text: str | None = None) -> ConfigDict:
  args = default.arguments(
    text, model="mobilenet", batch_size=512, epochs=1.0, trials=1
  )
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
  # Of 50 million drawings half a million each; take more of fewer.
  config.data.valid_fraction = config.data.test_fraction = 0.01
  # The reference model needs no more of them to tell easy from hard.
  config.difficulty.budget = "0.1 epochs"
  config.samplers = ConfigDict(
    {
      "uniform": {"name": "uniform", "replacement": False},
      "bandit": default.bandit(),
      "influence": headroom.influence(args["batch_size"]),
    }
  )
  return config
