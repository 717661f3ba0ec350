"""Every field of an experiment, with its default and what it means.

The other configs start from this one. Any field can be set from the command
line: `--config.batch_size=64`, `--config.samplers.bandit.epsilon=0.5`.
"""

from typing import Any

from ml_collections import ConfigDict


def arguments(text: str | None, **defaults: Any) -> dict[str, Any]:
  """What stands after a config's colon: `paper.py:scale=0.1,part=table1`.

  Args:
    text: names and values with commas; None or "" for the defaults.
    **defaults: every name with its default, whose type the value takes; a
      tuple stands for values with spaces between them.
  """
  values = dict(defaults)
  for item in filter(None, (text or "").split(",")):
    name, _, value = item.partition("=")
    if name not in defaults:
      raise ValueError(
        f"{item!r} after the config's name: write {', '.join(defaults)} with "
        f"their values, such as {'{}={}'.format(*next(iter(defaults.items())))}"
      )
    default = defaults[name]
    several = isinstance(default, tuple)
    kind = type(default[0] if several else default)
    try:
      read = tuple(map(kind, value.split())) if several else kind(value)
    except ValueError as error:
      raise ValueError(
        f"{item!r} after the config's name: {name} is of type {kind.__name__}"
      ) from error
    if read == ():
      raise ValueError(f"{item!r} after the config's name: {name} needs values")
    values[name] = read
  return values


def bandit(**changes: Any) -> ConfigDict:
  """The active bandit with the paper's choices, but for `changes`."""
  config = ConfigDict()
  config.name = "active_bandit"
  # The policy over arms: softmax(learning_rate=η).
  config.bandit = "softmax(learning_rate=0.2)"
  # What an arm is paid for: prediction_gain (on the trained batch),
  # self_prediction_gain (a fresh probe of the same arm), mean_prediction_gain
  # (of a uniformly drawn arm), target_prediction_gain (of the valid pool),
  # each of the last three with probe_size=n; or gradient_prediction_gain (no
  # second forward pass).
  config.gain = "prediction_gain"
  # From gains to rewards: rank over the whole history, or rank(window=500).
  config.reward = "rank"
  # Share of uniform exploration (1 - E of the paper): a number, or a schedule
  # over the run such as linear(value=1.0, end=0.1), cosine(value=1.0),
  # exponential(value=1.0, end=0.01).
  config.epsilon = "0.2"
  # H: steps whose gains are ranked but not yet learned from.
  config.warmup = 100
  # The partition: difficulty (quantiles within each class), or
  # difficulty_in_pool (quantiles over the pool), label, label_difficulty
  # (quantiles within a class, each class apart), or shuffled (the control:
  # arms like those of difficulty, of examples taken at random).
  config.partition = "difficulty"
  # Arms drawn for one batch, a divisor of the batch size: 1 as in the paper;
  # the batch size itself so that every example draws its own arm.
  config.arms_per_batch = 1
  # Within an arm: with replacement, or by shuffled passes.
  config.replacement = False
  # The gain is measured, and paid for, at each n-th step.
  config.interval = 1
  config.update(changes)
  return config


def get_config() -> ConfigDict:
  config = ConfigDict()

  # Trial i has seed + i: its initial parameters and all its randomness. The
  # i-th trials of two samplers start from the same parameters.
  config.seed = 0
  config.trials = 3
  # How trials share the device: map (one after the other in one program), or
  # vmap (side by side in every operation). Convolutions of several trials side
  # by side are grouped ones, which cost more than they save: beside one trial
  # alone, a step and trial of the small CNN takes 1.7 times as long with 3 of
  # them on two cores, and by map 0.95. On a GPU ask
  # `python -m benchmarks.step`.
  config.trials_by = "map"

  # The same for every sampler: "1 epoch", "500000 examples", "2000 steps".
  config.budget = "1 epoch"
  config.batch_size = 32
  # What is held equal: examples (as the budget says), or flops (a sampler
  # whose step costs more than the baseline's takes fewer of them).
  config.budget_basis = "examples"
  config.train_on = "train"  # or train_and_probe, the probe split added
  config.num_evals = 10  # times the valid pool is evaluated during a run
  config.chunk_steps = 25  # most steps between two visits of the host
  config.eval_batch_size = 64
  # Small changes of the images that are trained on, by lot at each step: none,
  # or affine(flip=True, rotate=10, scale=0.1, shift=0.05), in degrees and in
  # parts of the size.
  config.augment = "none"
  # What is trained, and what gains and difficulties are taken of: cross_entropy
  # or squared_error (of the logits to the one-hot class).
  config.loss = "cross_entropy"
  # Where a loss, gradient, update, gain or policy is NaN or infinite: stop
  # (that trial is out, and its row in results.csv says so), or skip_update
  # (the model stays as it was, and the skipped updates are counted).
  config.on_nonfinite = "stop"
  # The sampler that the others are compared with.
  config.baseline = "uniform"
  # Top-1 accuracies on valid, fixed beforehand: the report has the time to
  # reach each.
  config.thresholds = "0.5 0.6 0.7 0.8 0.9"
  # Packed data, difficulty scores and compiled programs are kept here for the
  # next experiment; "" is the folder `cache` beside the workdir.
  config.cache_dir = ""
  # Where the rows of metrics.jsonl are shown as well, while it runs:
  # tensorboard (in the folder `tensorboard` of the workdir), mlflow (extra
  # `mlflow`), both with a comma between them, or none.
  config.tracking = "tensorboard"
  # MLflow's server or database, such as http://127.0.0.1:5000; "" is
  # $MLFLOW_TRACKING_URI, or the folder `mlflow` of the workdir.
  config.tracking_uri = ""

  # A run that was stopped or killed goes on from its last checkpoint, by the
  # same command in the same workdir.
  config.checkpoint = checkpoint = ConfigDict()
  checkpoint.minutes = 10.0  # between two of them; 0: not by time
  checkpoint.steps = 0  # between two of them; 0: not by steps
  # The last so many stay, and the best on valid; from 2 on, a damaged one has
  # another before it.
  checkpoint.keep = 2

  config.data = data = ConfigDict()
  # synthetic (generated doodles); files (`dir` holds <class>.ndjson, raw or
  # simplified, or <class>.bin, Kaggle's <word>.csv, or bitmaps <class>.npy);
  # prepared (`dir` is what `python -m alcurr.data prepare` has made, where bad
  # drawings were settled); npz (`dir` is a .npz file of `images` and `labels`);
  # tfds (`dir` is a set that TensorFlow Datasets has prepared as array_record:
  # a name such as emnist/letters, or the folder of its version); folder (`dir`
  # holds <class>/<any>.png, .jpg and so on, cut to squares of image_size).
  data.source = "synthetic"
  data.dir = ""
  # "all", a number (the first classes by name), or names: "cat,dog".
  data.classes = "30"
  data.max_per_class = 0  # 0: no limit
  data.recognized_only = False  # leave out what Google's model did not see
  data.on_error = "raise"  # or skip, which counts bad drawings by reason
  # Of the synthetic source: how many, and the known shares of three faults.
  data.num_examples = 20_000
  data.seed = 0
  data.scribble_fraction = 0.02
  data.unfinished_fraction = 0.05
  data.wrong_label_fraction = 0.03
  # Shares of the examples, chosen by a hash of each one's key.
  data.valid_fraction = 0.05
  data.test_fraction = 0.2
  # What samplers may learn from, apart from what selects a model and what
  # tests it; 0: the valid split itself, as in the paper.
  data.probe_fraction = 0.0
  data.train_examples = 0  # train on so many of the training split; 0: all
  # Wrong labels planted on top of the data's own, and in which splits:
  # "train", or "train,probe" and so on.
  data.label_noise = 0.0
  data.label_noise_in = "train"
  # Drawings become images of this size, inside the step or once ahead of all.
  data.image_size = 28
  data.render = "in_step"  # or ahead
  # Where the examples are until they are drawn. Of a pool on the host the
  # device has but labels, difficulties and arms; what is drawn is fetched ahead
  # of the steps, or, where it depends on the last gain, in the middle of each.
  # The results are the same.
  data.pool = "device"  # or host
  data.stroke_width = 0.0  # pixels; 0: in proportion, as Google's bitmaps
  data.stroke_decay = 0.0  # the last stroke is dimmer by this, 0: none
  # What the images of drawings show, a channel each: ink, order (each stroke
  # brighter than the one before) and, of raw drawings, speed (of the pen).
  data.channels = "ink"

  # The network, with arguments if need be: cnn(width=0.5, norm='group'),
  # mobilenet(width=0.25), resnet50(dtype='bfloat16', remat=True).
  config.model = model = ConfigDict()
  model.name = "cnn"
  # A file of ImageNet weights to start from (any network but cnn); "": none.
  model.weights = ""

  config.optimizer = optimizer = ConfigDict()
  # An optax optimiser, with arguments if need be: sgd(momentum=0.9).
  optimizer.name = "adam"
  optimizer.learning_rate = 1e-3
  optimizer.schedule = "cosine"  # to zero over each run; linear, constant
  # Multiplies the learning rate of all but the classifier; 0 freezes them,
  # though the running statistics of batch norms still move.
  optimizer.backbone_lr_multiplier = 1.0

  # Difficulty: what a reference model says of an example, trained like the
  # others but uniformly and on a seed of its own: its loss, or el2n (how far
  # its probabilities are off).
  config.difficulty = difficulty = ConfigDict()
  difficulty.num_arms = 10
  difficulty.budget = "1 epoch"
  difficulty.seed = 1000
  difficulty.scorer = "loss"

  # A sampler's name and arguments. What its run has of its own stands in
  # `run`: batch_size, budget, baseline, model, optimizer or train_on.
  config.samplers = samplers = ConfigDict()
  samplers.uniform = ConfigDict({"name": "uniform", "replacement": False})
  samplers.bandit = bandit()
  return config
