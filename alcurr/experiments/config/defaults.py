"""Every field of an experiment: its default and its meaning.

The other configs start from this one. Any field can be set on the command
line: `--config.batch_size=64`, `--config.samplers.bandit.epsilon=0.5`.
"""

from typing import Any

from ml_collections import ConfigDict

from alcurr.experiments.config import plain

# The active bandit of the paper.
_BANDIT = {
  "name": "active_bandit",
  # The policy over arms; the learning rate is the paper's η.
  "bandit": "softmax(learning_rate=0.2)",
  # What an arm is paid for: prediction_gain (on the trained batch),
  # self_prediction_gain (on a new probe of the same arm), mean_prediction_gain
  # (on a uniformly drawn arm), or target_prediction_gain (on the probe pool);
  # the last three take probe_size=n. gradient_prediction_gain needs no second
  # forward pass.
  "gain": "prediction_gain",
  # From gains to rewards: rank among all gains, or rank(window=500).
  "reward": "rank",
  # The share of uniform exploration (1 - E of the paper): a number, or a
  # schedule over the run such as linear(value=1.0, end=0.1),
  # cosine(value=1.0) or exponential(value=1.0, end=0.01).
  "epsilon": "0.2",
  # H: the first steps, whose gains are ranked but not learned from. None: 100,
  # and at most a tenth of the run.
  "warmup": None,
  # The arms: difficulty (quantiles within each class), difficulty_in_pool
  # (quantiles over the pool), label, label_difficulty (quantiles of each class
  # apart), groups (see data.groups), clusters (difficulty.num_arms of them, by
  # k-means of the reference model's features), or, as controls, planted (labels
  # that data.label_noise left right, and those it made wrong) or shuffled (like
  # difficulty, but at random).
  "partition": "difficulty",
  # Arms drawn for a batch, a divisor of the batch size. 1: as in the paper;
  # None, or the batch size: every example draws its own arm.
  "arms_per_batch": 1,
  # Whether examples of an arm are drawn with replacement, rather than by
  # shuffled passes.
  "replacement": False,
  # The gain is measured, and the bandit learns, at every n-th step.
  "interval": 1,
}

# A score of each example before training, by a model that is trained like the
# others, but uniformly and with a seed of its own.
_SCORE = {
  # Of each seed. Folds share it; an epoch is one of the split trained on.
  "budget": "1 epoch",
  "seed": 1000,
  "seeds": 1,  # the score is the mean over models with the seeds from `seed` on
  # Of the model at the end: loss, el2n (the distance of its probabilities from
  # the label) or margin (by how much another class's logit is above the
  # label's). Or of its training, with train_on=train: forgetting (how often the
  # example was forgotten) or aum (minus the mean margin over its visits); an
  # example that the budget does not reach, or of another split, has the mean.
  "scorer": "loss",
  # The examples that models are trained on: train (the same that are scored),
  # probe (the probe split), or cross (folds of the train split: each example is
  # scored by the model that was trained on the other folds).
  "train_on": "train",
  "folds": 2,  # with train_on=cross
  "model": "",  # another network, such as cnn(width=0.25); "": the experiment's
  # The scores themselves, instead of a model's: a .npy file of a number for
  # each example, in the order of the data, or a .csv file with the columns key
  # and score. A drawing's key is its key_id; an image's its path in the folder
  # of classes, such as cat/1.png, or else its number from 0.
  "file": "",
}

_DEFAULTS = {
  # Trial i has the seed `seed + i`, for its initial parameters and all its
  # randomness: the i-th trials of two samplers start from the same parameters.
  "seed": 0,
  "trials": 3,
  # How trials share a device: map (one after the other in one program) or vmap
  # (together in every operation; convolutions become grouped ones, which are
  # slow on a CPU). On a GPU measure it with `python -m benchmarks.step`.
  "trials_by": "map",
  # The devices: data=8 (of each batch, each has an eighth), trial=3,data=2, or
  # "": all, trials first (docs/parallel.md).
  "mesh": "",
  # The training of every sampler: "1 epoch", "500000 examples", "2000 steps".
  "budget": "1 epoch",
  "batch_size": 32,
  # What samplers have in common: examples (as the budget says); flops (all that
  # the baseline's run spends: whoever has more costly steps, or reads scores
  # that are made before training, takes fewer steps); or step_flops (the same,
  # but scores cost nothing, which favours whoever reads them).
  "budget_basis": "examples",
  # The number of runs among which the FLOPs of scores are divided, for
  # `budget_basis=flops`. Above 1 the report says so.
  "scores_shared_by": 1,
  "train_on": "train",  # or train_and_probe, with the probe split
  "num_evals": 10,  # evaluations on the valid split during a run
  "chunk_steps": 25,  # most steps between two visits of the CPU
  "eval_batch_size": 64,
  # Random changes of training images: none, or affine(flip=True, rotate=10,
  # scale=0.1, shift=0.05), in degrees and in shares of the size.
  "augment": "none",
  # The loss of training and gains: cross_entropy, squared_error (of the logits
  # to the one-hot class), label_smoothing, logit_adjustment for rare classes;
  # gce, elr or superloss for wrong labels. Losses on the other splits and
  # difficulties are the cross-entropy, whatever is trained on.
  "loss": "cross_entropy",
  # If a loss, gradient, update, gain or policy is not finite: stop (the trial
  # ends, and results.csv says at which step), or skip_update (the update is
  # discarded and counted).
  "on_nonfinite": "stop",
  # The sampler that the others are compared with.
  "baseline": "uniform",
  # Top-1 accuracies on the valid split, chosen beforehand: the report has the
  # time to reach each.
  "thresholds": "0.5 0.6 0.7 0.8 0.9",
  # The folder of packed data, difficulty scores and compiled programs for the
  # next experiment; "": the folder `cache` next to the workdir.
  "cache_dir": "",
  # Trackers that show the rows of metrics.jsonl: tensorboard (in the folder
  # `tensorboard` of the workdir), mlflow and wandb (extras of these names),
  # several with commas between them, or none.
  "tracking": "tensorboard",
  # MLflow's server or database, such as http://127.0.0.1:5000; "":
  # $MLFLOW_TRACKING_URI, or the folder `mlflow` of the workdir.
  "tracking_uri": "",
  # An interrupted run resumes from its latest checkpoint, by the same command
  # in the same workdir.
  "checkpoint": {
    "minutes": 10.0,  # between two checkpoints; 0: not by time
    "steps": 0,  # between two checkpoints; 0: not by steps
    # The number of latest checkpoints on disk, besides the best on the valid
    # split. From 2 on, a damaged checkpoint is no loss.
    "keep": 2,
  },
  # What --launch=slurm asks of the scheduler for each job.
  "slurm": {
    "partition": "",  # "": the cluster's default, as for the next two
    "account": "",
    "constraint": "",  # features of the nodes, such as a100
    # After so many minutes a job saves, is requeued and resumes.
    "minutes": 240,
    "cpus": 4,  # also the threads of the runs
    "gpus": 0,
    "memory_gb": 0.0,  # 0: the cluster's default
    "parallel": 0,  # most runs at a time; 0: no limit
  },
  "data": {
    # synthetic (generated doodles); files (`dir` holds <class>.ndjson, raw or
    # simplified, or <class>.bin, Kaggle's <word>.csv, or bitmaps <class>.npy,
    # or it is one file of drawings with a `word` each);
    # prepared (`dir` is the output of `python -m alcurr.data prepare`); npz
    # (`dir` is a .npz file of `images`, or rows, and `labels`); tfds (`dir` is
    # a dataset that TensorFlow Datasets has prepared as array_record: a name
    # such as emnist/letters, or the folder of its version); folder (`dir` holds
    # <class>/<any>.png, .jpg and so on, cut to squares of image_size).
    "source": "synthetic",
    "dir": "",
    # "all", a number (the first classes by name), or names: "cat,dog".
    "classes": "30",
    "max_per_class": 0,  # 0: no limit
    "recognized_only": False,  # skip drawings that Google did not recognize
    "on_error": "raise",  # or skip, which counts bad drawings by reason
    # Strokes of files: rows ([[x, ...], [y, ...]]), or points ([[x, y], ...]);
    # "": each file's own, which is asked for if all of its strokes may be both.
    "stroke_form": "",
    # Images of a .npz: whether they are [N, C, H, W], and the values of black
    # and white, such as "0,65535" or "-1,1"; "": whole numbers from 0 to 255,
    # or floats from 0 to 1. The limit of all its arrays together, unless the
    # file itself is larger, and of the content of a .gz file.
    "channels_first": False,
    "value_range": "",
    "max_bytes": 2**31,
    # Labels of a .npz: whether they are numbers to predict, with loss
    # squared_error, instead of classes. Models learn them less their mean and
    # divided by their standard deviation, of the training examples.
    "regression": False,
    # Images of a folder: the colour behind transparent ones, and the limit of
    # an image's width times its height.
    "background": "white",
    "max_pixels": 50_000_000,
    # The synthetic source: the number of examples, and shares of its faults.
    "num_examples": 20_000,
    "seed": 0,
    "scribble_fraction": 0.02,
    "unfinished_fraction": 0.05,
    "wrong_label_fraction": 0.03,
    # A CSV with the header key,group: the source, domain or length of each
    # example, which are arms of the partition `groups`. A key is a drawing's
    # key_id, an image's path in its folder (cat/1.png), or its number in a .npz
    # (which may have an array `groups` instead). "": no groups.
    "groups": "",
    # The share of the examples that is used: chosen by a hash of their keys.
    "share": 1.0,
    # Several sources instead of one: their own fields of these by name, such as
    # {"photos": {"source": "folder", "dir": "photos"}, "sketches": {...}}. They
    # have the same classes, and each is a group. Where some are images,
    # drawings become images. `share`, `max_per_class` and `label_noise` may
    # differ too.
    "sources": {},
    # Splits of your own: where each is, as `dir`; perhaps the same file (see
    # docs/comparing.md). "": a share of the data, below.
    "valid_dir": "",
    "test_dir": "",
    "probe_dir": "",
    # Shares of the examples, split by a hash of each example's key.
    "valid_fraction": 0.05,
    "test_fraction": 0.2,
    # The share of a split for samplers to learn from, which neither selects
    # nor tests a model; 0: they use the valid split, as in the paper.
    "probe_fraction": 0.0,
    # False trains on the other splits too, to judge each label. No comparison.
    "hold_out": True,
    "train_examples": 0,  # of the training split; 0: all
    # The share of labels made wrong, besides the data's own mistakes, and the
    # splits: "train", or "train,probe" and so on.
    "label_noise": 0.0,
    "label_noise_in": "train",
    # Wrong labels are uniform (any other class) or pairs (the next class).
    "label_noise_kind": "uniform",
    # The size of the largest class of the training split over the smallest's.
    "imbalance": 1.0,
    "copies": 1,  # of each example of the training split
    # Drawings become images of this size.
    "image_size": 28,
    "render": "in_step",  # or precompute: once, before the first run
    # Where the examples are: all on each device; split over the devices that
    # share a batch; or on the host (in CPU memory), with only labels,
    # difficulties and arms on the device. Examples are prefetched from the
    # host, or, for samplers that learn at each step, fetched within the step.
    # The results are the same.
    "pool": "device",
    "stroke_width": 0.0,  # pixels; 0: in proportion, as in Google's bitmaps
    "stroke_decay": 0.0,  # how much dimmer the last stroke is; 0: not at all
    # The channels of rendered drawings: ink, order (later strokes are darker)
    # and, for raw drawings, speed (of the pen).
    "channels": "ink",
  },
  # The network, a spec: cnn(width=0.5, norm='group'), mobilenet(width=0.25),
  # resnet50(dtype='bfloat16', remat=True).
  "model": {
    "name": "cnn",
    # A file of ImageNet weights to start from (any network but cnn); "": none.
    "weights": "",
  },
  # A network that scores candidates, a spec, for samplers that draw some; "":
  # the model itself. Set it in a sampler's `run`, unless all of them do. It is
  # trained on the same batches as the model; or, if shared, it has the model's
  # parameters, as does the same network with dtype='bfloat16'.
  "scoring_model": {"name": "", "shared": False},
  "optimizer": {
    # An optax optimizer, a spec: sgd(momentum=0.9).
    "name": "adam",
    "learning_rate": 1e-3,
    "schedule": "cosine",  # to zero over each run; or linear, constant
    # Multiplies the learning rate of all but the classifier. 0 freezes the
    # parameters, but not the running statistics of batch norms.
    "backbone_lr_multiplier": 1.0,
  },
  # Scores of the examples before training, by name, from models that are
  # trained for them, or from a file. Only those are made that a sampler reads.
  # `difficulty` is the score of the arms of partitions by difficulty.
  "difficulty": {"num_arms": 10, **_SCORE},
  "scores": {
    # rho_loss: the loss of models that never saw the example.
    "irreducible": {**_SCORE, "train_on": "cross", "seed": 2000},
  },
  # Each sampler's name and arguments. `run` may set, for this sampler alone,
  # baseline, batch_size, budget, loss, model, scoring_model, optimizer,
  # scores_shared_by or train_on.
  "samplers": {
    "uniform": {"name": "uniform", "replacement": False},
    "bandit": _BANDIT,
  },
}


def get_config() -> ConfigDict:
  """Returns the default config."""
  return plain.to_config(_DEFAULTS)


def bandit(**changes: Any) -> ConfigDict:
  """Returns the config of the active bandit: the paper's, but for `changes`."""
  config = plain.to_config(_BANDIT)
  config.update(changes)
  return config


def arguments(text: str | None, **defaults: Any) -> dict[str, Any]:
  """Parses the text after a config's colon: `paper.py:scale=0.1,part=table1`.

  Args:
    text: `name=value` pairs with commas; None or "" for the defaults.
    **defaults: the names with their defaults. A value gets the type of its
      default; a tuple stands for values with spaces between them.

  Raises:
    ValueError: an unknown name, or a value of another type.
  """
  values = dict(defaults)
  for item in filter(None, (text or "").split(",")):
    name, _, value = item.partition("=")
    default = defaults.get(name)
    several = isinstance(default, tuple)
    kind = type(default[0] if several else default)
    try:
      parsed = [kind(word) for word in (value.split() if several else [value])]
    except (TypeError, ValueError):  # None, of an unknown name, takes no value
      parsed = []
    if not parsed:
      examples = ",".join(f"{k}={v}" for k, v in defaults.items())
      raise ValueError(f"expected values such as {examples}, got {item!r}")
    values[name] = tuple(parsed) if several else parsed[0]
  return values
